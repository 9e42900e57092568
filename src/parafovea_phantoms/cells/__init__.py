"""Phantom cells in electron microscopy."""
