"""What depends on the machine: threads, memory, matrix products and attention on a CPU."""
