"""Declarations of the stages: inputs, outputs, arguments, device and cost; torch-free."""
