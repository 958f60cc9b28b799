"""The doctor: what is wrong with a gallery, rows of another space among it."""

from embcompat.doctor.examination import examine
from embcompat.doctor.reference import SpaceReference, fit_reference
from embcompat.doctor.report import DoctorReport, Finding, Separation

__all__ = ["DoctorReport", "Finding", "Separation", "SpaceReference", "examine", "fit_reference"]
