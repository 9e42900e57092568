"""The chain: each stage declared once, with what it reads, makes and costs; nothing heavy here."""
