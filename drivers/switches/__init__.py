"""Switch matrices between a network analyzer and the ports of a device."""
