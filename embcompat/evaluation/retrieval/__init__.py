"""What a model change does to search. numpy only."""
