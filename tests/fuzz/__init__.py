"""Wrong inputs by the million: ``python -m tests.fuzz``.

* `mutate` damages shipped files, `invent` makes data after a model's fields.
* `files`, `running`, `calls`, `commands`, `trainings` are the surfaces: what takes inputs from users, and how an input
  is tried there.
* `kinds` says what an exception is a kind of, and remembers what was found.
* `work` is a process that tries inputs; `__main__` starts such processes and outlives their crashes and hangs.
"""
