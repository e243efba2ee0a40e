"""The ground: the compiler, structs in one array, the timeline, random streams. No kernel in it."""
