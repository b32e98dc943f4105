"""What `watch`, `top` and the demo show: what is to be seen is decided without a terminal, and drawn elsewhere."""
