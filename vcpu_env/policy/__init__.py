"""The rules that answer the machine's two decision points. The series' own rules are the baseline of every other."""
