"""Code that depends on the machine: threads, memory, and fast products and attention on a CPU."""
