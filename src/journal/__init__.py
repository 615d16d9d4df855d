"""Files of lines that the broker writes into its state folder, and those who read them at their own pace."""
