"""Input files that several tests read: an rt-app use case, a guest workload."""

VIDEO = """{
	/* two threads: one resumes the other */
	"tasks" : {
		"decoder" : {
			"priority" : -5, "cpus" : [0, 1], "taskgroup" : "/media/video", "dl-runtime" : 3000,
			"run1" : 2000, // a run
			"resume" : "display",
			"run2" : 1000,
			"timer" : { "ref" : "unique", "period" : 16000, "mode" : "absolute" },
		},
		"display" : {
			"instance" : 2, "delay" : 5000, "policy" : "SCHED_BATCH", "loop" : 3,
			"phases" : {
				"wait" : { "suspend" : "" },
				"draw" : { "loop" : 4, "run" : 500, "yield" : "" }
			}
		},
		"absent" : { "instance" : 0, "run" : 10 }
	},
	"global" : { "duration" : 2, "calibration" : "CPU0", "gnuplot" : true, }
}
"""

PIPE = '''
unit = "blocks"
params = { block_ns = 120_000 }
queues.blocks.capacity = 2
locks.heap.kind = "spin"

[[threads]]
name = "reader"
program = """
  user 20us fixed
  put blocks
"""

[[threads]]
name = "worker"
count = 3
program = """
  get blocks
  user block_ns fixed
  hold heap 2us
  work
"""
'''
