"""The parts that stand around a twin's state; a host application uses all, some or none of them."""
