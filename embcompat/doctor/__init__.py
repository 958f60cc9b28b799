"""Find problems in a gallery, such as rows of another space."""

from embcompat.doctor.examination import examine
from embcompat.doctor.reference import SpaceReference, fit_reference
from embcompat.doctor.report import DoctorReport, Finding, Separation

__all__ = ["DoctorReport", "Finding", "Separation", "SpaceReference", "examine", "fit_reference"]
