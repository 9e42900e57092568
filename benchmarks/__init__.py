"""Speed and memory of the engine, each number a ratio measured side by side in one run."""
