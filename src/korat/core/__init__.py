"""The pure core: values in, values out. No clock, dice, log, file, socket or process."""
