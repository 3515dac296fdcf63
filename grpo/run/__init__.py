"""What a run leaves behind and shows: its folder, checkpoints, console, trackers and report."""
