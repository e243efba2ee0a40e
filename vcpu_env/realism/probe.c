/*
 * Runs the tasks of one probe. Pure data comes in on standard input, one item a line:
 *
 *	duration NS
 *	pipes COUNT
 *	task CGROUP_FILE POLICY NICE SLICE_NS SLACK_NS START_NS NR_CPUS CPU...	(NR_CPUS 0: those of this program)
 *	run_ns N | sleep_ns N | timer_ns N | sched_yield 1 | signal PIPE | wait PIPE	(a step of the task above)
 *	end
 *
 * With an argument it prints the slice that a task has by default (sched_getattr(), since 6.12) and ends.
 *
 * Prints "pid PID" a task and "ready", waits for a line, lets all tasks go at once, prints "start NS" and, once the
 * time is over and all tasks are gone, "end NS" (CLOCK_MONOTONIC). Programs repeat. A run is CPU time: a jump of the
 * clock by more than AWAY_NS was time on somebody else's account. CLOCK_THREAD_CPUTIME_ID is no alternative, since
 * reading it runs update_curr() and so ends slices between ticks.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define AWAY_NS 15000
#define MAX_TASKS 256
#define MAX_STEPS 64
#define MAX_PIPES 64

enum kind { RUN, SLEEP, TIMER, YIELD, SIGNAL, WAIT, KINDS };
static const char *const kind_names[KINDS] = { "run_ns", "sleep_ns", "timer_ns", "sched_yield", "signal", "wait" };

struct step {
	enum kind kind;
	int64_t value;
};

struct task {
	int policy, nice, nr_cpus, nr_steps;
	long slice_ns, slack_ns, start_ns;
	cpu_set_t cpus;
	char cgroup[512];
	struct step steps[MAX_STEPS];
	pid_t pid;
};

struct attr { /* struct sched_attr, first version */
	uint32_t size, policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime, deadline, period;
};

static struct task tasks[MAX_TASKS];
static int nr_tasks, pipes[MAX_PIPES][2], nr_pipes, gate[2], ready[2];
static int64_t duration;

static void die(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(1);
}

static int64_t now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

static void sleep_until(int64_t when)
{
	struct timespec ts = { .tv_sec = when / 1000000000, .tv_nsec = when % 1000000000 };

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL) == EINTR)
		;
}

static void run(int64_t left)
{
	int64_t last = now();

	while (left > 0) {
		int64_t t = now(), passed = t - last;

		if (passed < AWAY_NS)
			left -= passed;
		last = t;
	}
}

static int read_task(struct task *t)
{
	if (scanf("%511s %d %d %ld %ld %ld %d", t->cgroup, &t->policy, &t->nice, &t->slice_ns, &t->slack_ns, &t->start_ns,
		  &t->nr_cpus) != 7)
		return 0;
	CPU_ZERO(&t->cpus);
	for (int i = 0; i < t->nr_cpus; i++) {
		int cpu;

		if (scanf("%d", &cpu) != 1)
			return 0;
		CPU_SET(cpu, &t->cpus);
	}
	return 1;
}

static void read_spec(void)
{
	char word[32];
	struct task *t = NULL;

	while (scanf("%31s", word) == 1) {
		long long value;
		int kind = 0;

		if (!strcmp(word, "end"))
			return;
		if (!strcmp(word, "task")) {
			if (nr_tasks == MAX_TASKS)
				break;
			t = &tasks[nr_tasks++];
			if (!read_task(t))
				break;
			continue;
		}
		if (scanf("%lld", &value) != 1)
			break;
		if (!strcmp(word, "duration")) {
			duration = value;
			continue;
		}
		if (!strcmp(word, "pipes")) {
			for (nr_pipes = 0; nr_pipes < value && nr_pipes < MAX_PIPES; nr_pipes++)
				if (pipe(pipes[nr_pipes]))
					die("pipe");
			continue;
		}
		while (kind < KINDS && strcmp(word, kind_names[kind]))
			kind++;
		if (kind == KINDS || !t || t->nr_steps == MAX_STEPS)
			break;
		t->steps[t->nr_steps++] = (struct step){ kind, value };
	}
	fprintf(stderr, "probe: line '%s ...' not understood\n", word);
	exit(1);
}

static void set_up(const struct task *t)
{
	struct attr attr = {
		.size = sizeof(attr), .policy = t->policy, .nice = t->nice, .runtime = t->slice_ns
	};
	int fd = open(t->cgroup, O_WRONLY);

	if (fd < 0 || write(fd, "0", 1) != 1)
		die(t->cgroup);
	close(fd);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	prctl(PR_SET_TIMERSLACK, t->slack_ns);
	prctl(PR_SET_NAME, "vcpu-env-probe");
	if (t->nr_cpus && sched_setaffinity(0, sizeof(t->cpus), &t->cpus))
		die("sched_setaffinity");
	if (syscall(SYS_sched_setattr, 0, &attr, 0))
		die("sched_setattr");
}

static void interpret(const struct task *t)
{
	int64_t timer;
	char byte = 0;

	if (t->start_ns)
		sleep_until(now() + t->start_ns);
	timer = now();
	for (int i = 0;; i = (i + 1) % t->nr_steps) {
		const struct step *p = &t->steps[i];

		switch (p->kind) {
		case RUN:
			run(p->value);
			break;
		case SLEEP:
			sleep_until(now() + p->value);
			break;
		case TIMER: /* periodic: a period that is over already does not sleep, and the next begins now */
			timer += p->value;
			if (timer > now())
				sleep_until(timer);
			else
				timer = now();
			break;
		case YIELD:
			sched_yield();
			break;
		case SIGNAL:
			if (write(pipes[p->value][1], &byte, 1) != 1)
				die("write");
			break;
		default:
			if (read(pipes[p->value][0], &byte, 1) != 1)
				die("read");
		}
	}
}

int main(int argc, char **argv)
{
	char byte = 0;
	int64_t start;

	(void)argv;
	if (argc > 1) {
		struct attr attr = { 0 };

		syscall(SYS_sched_getattr, 0, &attr, sizeof(attr), 0);
		printf("%lu\n", (unsigned long)attr.runtime);
		return 0;
	}
	setvbuf(stdin, NULL, _IONBF, 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	read_spec();
	if (pipe(gate) || pipe(ready))
		die("pipe");
	for (int i = 0; i < nr_tasks; i++) {
		tasks[i].pid = fork();
		if (tasks[i].pid < 0)
			die("fork");
		if (!tasks[i].pid) {
			close(gate[1]);
			set_up(&tasks[i]);
			if (write(ready[1], &byte, 1) != 1)
				die("ready");
			if (read(gate[0], &byte, 1) != 0) /* end of file: go */
				die("gate");
			interpret(&tasks[i]);
		}
	}
	close(ready[1]);
	for (int i = 0; i < nr_tasks; i++)
		if (read(ready[0], &byte, 1) != 1) {
			fprintf(stderr, "probe: a task ended before it was ready\n");
			return 1;
		}
	for (int i = 0; i < nr_tasks; i++)
		printf("pid %d\n", tasks[i].pid);
	printf("ready\n");
	fflush(stdout);
	while (read(0, &byte, 1) == 1 && byte != '!')
		;
	start = now();
	close(gate[1]);
	sleep_until(start + duration);
	for (int i = 0; i < nr_tasks; i++)
		kill(tasks[i].pid, SIGKILL);
	while (wait(NULL) > 0)
		;
	printf("start %ld\nend %ld\n", start, start + duration);
	return 0;
}
