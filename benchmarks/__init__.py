"""Speed and memory, measured in fresh processes; each module prints a Markdown table."""
