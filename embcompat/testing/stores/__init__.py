"""What every gallery store must do, checked on a real store."""
