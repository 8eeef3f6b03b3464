"""DeZero's name for the convolutions: `import dzcore.functions_conv`."""

__all__: list[str] = []
