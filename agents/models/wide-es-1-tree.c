/*
 * wide-es-1 as a decision tree of 8 leaves a candidate
 *
 * choose_target(): whom to yield to. 0: nobody, 1: as kvm_vcpu_on_spin() would, 2 + i: the i-th sibling that passes its
 * ready, blocking and spin-loop checks, in scan order.
 * *boost says what the yield does for its target:
 *   0 hint
 *   1 penalty_1
 *   2 credit
 *   3 transfer
 *   4 plain
 *   5 stay
 *   6 stay_credit
 *   7 borrow_1
 *   8 borrow_4
 */
typedef long long s64;

struct spinner {
	s64 nr_candidates;
};

struct sibling {
	s64 unused;
};

/* 0: skip this sibling; 1 + b: take it, with boost b. */
static int judge(const struct spinner *spinner, const struct sibling *sibling)
{
	(void)spinner, (void)sibling;
	return 0;
}

/* Nobody or the rule, times 9, plus the boost. */
static int otherwise(const struct spinner *spinner)
{
	(void)spinner;
	if (spinner->nr_candidates <= 2) {
		return 16;
	}
	return 17;
}

int choose_target(const struct spinner *spinner, const struct sibling *siblings, int nr_siblings, int *boost)
{
	int i, answer;

	for (i = 0; i < nr_siblings; i++) {
		answer = judge(spinner, &siblings[i]);
		if (answer) {
			*boost = answer - 1;
			return 2 + i;
		}
	}
	answer = otherwise(spinner);
	*boost = answer;
	if (answer < 9)
		return 0;
	*boost -= 9;
	return 1;
}
