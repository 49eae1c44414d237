"""What training or serving a model needs, before it is paid for: memory, devices, hours, money."""

from steelyard.training.planner.devices import GPUS, THIS, Device, parse_device, this_machine
from steelyard.training.planner.facts import KNOWN, ModelFacts, facts_of, read_facts
from steelyard.training.planner.fitting import STAGES, mildest_stage
from steelyard.training.planner.memory import METHODS, Memory, Method, Setup, memory
from steelyard.training.planner.plan import Option, Plan, Work, make_plan
from steelyard.training.planner.probe import probed_speed
from steelyard.training.planner.remedies import Remedy
from steelyard.training.planner.speed import training_flops

__all__ = [
    "GPUS",
    "KNOWN",
    "METHODS",
    "STAGES",
    "THIS",
    "Device",
    "Memory",
    "Method",
    "ModelFacts",
    "Option",
    "Plan",
    "Remedy",
    "Setup",
    "Work",
    "facts_of",
    "make_plan",
    "memory",
    "mildest_stage",
    "parse_device",
    "probed_speed",
    "read_facts",
    "this_machine",
    "training_flops",
]
