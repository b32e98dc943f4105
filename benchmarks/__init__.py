"""What circman_redis costs, measured beside what people would use instead: ``make bench``."""
