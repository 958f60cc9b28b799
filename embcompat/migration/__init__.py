"""Convert stored galleries: files into files, and stores that stay in service."""

from embcompat.migration.cutover import VerifyReport, abort, cut_over, drop_old, roll_back, sweep, verify_migration
from embcompat.migration.files.convert import ConversionReport, convert_file
from embcompat.migration.files.distributed import DatasetReport, convert_dataset, sum_dataset
from embcompat.migration.files.snapshot import convert_gallery
from embcompat.migration.journal import read_journal
from embcompat.migration.options import RunOptions, RunReport, job_of
from embcompat.migration.plan import MigrationPlan, plan_migration
from embcompat.migration.rows import Failure, Shard, parse_shard
from embcompat.migration.run import run_migration
from embcompat.migration.shards.finish import FinishReport, finish_shards
from embcompat.migration.shards.plan import ShardPlan, plan_shards
from embcompat.migration.shards.run import ShardReport, convert_shard

__all__ = [
    "ConversionReport",
    "DatasetReport",
    "Failure",
    "FinishReport",
    "MigrationPlan",
    "RunOptions",
    "RunReport",
    "Shard",
    "ShardPlan",
    "ShardReport",
    "VerifyReport",
    "abort",
    "convert_dataset",
    "convert_file",
    "convert_gallery",
    "convert_shard",
    "cut_over",
    "drop_old",
    "finish_shards",
    "job_of",
    "parse_shard",
    "plan_migration",
    "plan_shards",
    "read_journal",
    "roll_back",
    "run_migration",
    "sum_dataset",
    "sweep",
    "verify_migration",
]
