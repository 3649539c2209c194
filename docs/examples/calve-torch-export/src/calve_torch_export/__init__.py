"""The export format torch-export for calve: programs of torch.export, and their runtime."""
