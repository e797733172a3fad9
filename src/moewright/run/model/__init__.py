"""The mathematics of a rank's pass, and of the unsharded one."""
