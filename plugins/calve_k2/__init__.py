"""What k2 contributes where it is installed; nothing here is imported before it is asked for."""
