"""The calibration page: what each workload rests on, and which conclusions hold whatever the assumptions are.

* `ranges.toml`: the assumed numbers, how far each could be off, and why; which scenarios, policies, run lengths.
* `design`: points of the box that the ranges span (Morris trajectories or a Sobol sequence, SALib), as cells.
* `effects`: elementary effects of each parameter on what a policy gains, beside those of the seeds alone.
* `page`: docs/calibration.md.
"""
