"""What a model change does to verification. numpy only."""
