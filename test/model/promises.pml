/*
 * The promises of the voters exclude two holders in mode fast: F1 to F4 and F11 for three agents,
 * which are the voters.
 *
 * Checked: at no instant do two kernels answer for the address.
 *
 * Assumptions
 * - Time is a number of ticks, the same for all. A right lasts T ticks after its beat, a promise W
 *   ticks: the difference stands for the drift of clocks, the fence's ticket and its grain (F9).
 * - An agent takes a step at any time, or never: it may be frozen, cut off or late. A step is
 *   atomic, also a look at the clock and the renewal after it, because of the ticket (F9).
 * - A message is lost, or delivered at any time: LATE messages are under way at most.
 * - The Lease gives each term to one agent: a claim builds on the version that it has seen, and
 *   only one such write is applied. Two of the agents claim, in any order, terms up to TERMS.
 * - A voter that was restarted has read the Lease when it may acknowledge again (F3).
 * - Left out: mode slow, for which see modes.pml, and changes of the voters (F7).
 */
#define N 3
#define NONE 3
#define T 1
#define W 2
#ifndef TERMS
#define TERMS 3
#endif
#ifndef RESTARTS
#define RESTARTS 0
#endif
#ifndef LATE
#define LATE 2
#endif

mtype = { beat, ack, goodbye }
typedef Message { mtype kind; byte from, to, term, left }

Message net[LATE];
byte last;      /* the last term */
byte restarts;
byte fence[N];  /* for how many ticks the kernel still answers */

/* holders: the term, 0 for none, and for how long the acknowledgement of voter v still counts */
byte term[N], acked[9];

/* voters: the highest term known, the promise, for how long it says nothing, the term that ended */
byte highest[N], boundTo[N], boundTerm[N], boundFor[N], silent[N], ended[N];

byte i, j, k;
bool yes;

#define least(a, b) (a < b -> a : b)
#define most(a, b) (a < b -> b : a)
/* F1: what the second best of three acknowledgements gives */
#define right(a) most(least(acked[3*a], acked[3*a+1]), \
	least(most(acked[3*a], acked[3*a+1]), acked[3*a+2]))

inline pass(x) { if :: x > 0 -> x-- :: else fi }
inline unbind(a) { boundTo[a] = NONE; boundTerm[a] = 0; boundFor[a] = 0 }
inline stop(a) { term[a] = 0; acked[3*a] = 0; acked[3*a+1] = 0; acked[3*a+2] = 0 }
inline drop(m) { net[m].kind = 0; net[m].from = 0; net[m].to = 0; net[m].term = 0; net[m].left = 0 }

inline tick() {
	for (i : 0 .. N-1) {
		pass(fence[i]); pass(silent[i]); pass(boundFor[i]);
		if :: boundFor[i] == 0 -> unbind(i) :: else fi;
		for (j : 0 .. N-1) { pass(acked[3*i+j]) }
	}
	for (k : 0 .. LATE-1) {
		pass(net[k].left);
		if :: net[k].left == 0 && net[k].kind != goodbye -> drop(k) :: else fi
	}
	i = 0; j = 0; k = 0
}

/* F2: yes becomes true if voter v acknowledges a beat of holder h */
inline vote(v, h, number) {
	yes = false;
	if
	:: silent[v] == 0 && number >= highest[v] && ended[v] != number &&
	   (boundTo[v] == h || boundTo[v] == NONE) ->
		highest[v] = number; boundTo[v] = h; boundTerm[v] = number; boundFor[v] = W; yes = true
	:: else
	fi
}

active proctype world() {
	for (i : 0 .. N-1) { unbind(i) }
	i = 0;
	do
	:: d_step { tick() }
	:: atomic { /* a step of agent i, to agent j, with message k */
		i = 0; j = 0; k = 0;
		do :: i < N-1 -> i++ :: break od;
		do :: j < N-1 -> j++ :: break od;
		do :: k < LATE-1 -> k++ :: break od;
		if
		/* F4: the Lease gives the next term to agent i */
		:: j == 0 && k == 0 && i < 2 && last < TERMS && term[i] == 0 -> d_step {
			last++; term[i] = last;
			if :: highest[i] < last -> highest[i] = last :: else fi }
		/* agent i sees the Lease, or hears of the last term: a holder of an older one closes */
		:: j == 0 && k == 0 && highest[i] < last -> d_step {
			highest[i] = last;
			if :: term[i] > 0 -> fence[i] = 0; stop(i) :: else fi }
		/* F2: a beat to the own voter, and to another one */
		:: k == 0 && i == j && term[i] > 0 -> d_step {
			vote(i, i, term[i]);
			if :: yes -> acked[4*i] = T :: else fi }
		:: i != j && term[i] > 0 && net[k].kind == 0 -> d_step {
			net[k].kind = beat; net[k].from = i; net[k].to = j; net[k].term = term[i];
			net[k].left = T }
		:: i == 0 && j == 0 && net[k].kind == beat -> d_step {
			i = net[k].from; j = net[k].to;
			vote(j, i, net[k].term);
			if
			:: yes -> net[k].kind = ack; net[k].from = j; net[k].to = i
			:: else -> drop(k)
			fi }
		:: i == 0 && j == 0 && net[k].kind == ack -> d_step {
			i = net[k].to; j = net[k].from;
			if
			:: net[k].term == term[i] && acked[3*i+j] < net[k].left -> acked[3*i+j] = net[k].left
			:: else
			fi;
			drop(k) }
		/* F11: agent j hears the goodbye of agent i */
		:: i == 0 && j == 0 && net[k].kind == goodbye -> d_step {
			i = net[k].from; j = net[k].to;
			ended[j] = net[k].term;
			if :: highest[j] < net[k].term -> highest[j] = net[k].term :: else fi;
			if :: boundTo[j] == i && boundTerm[j] <= net[k].term -> unbind(j) :: else fi;
			drop(k) }
		/* a message is lost */
		:: i == 0 && j == 0 && net[k].kind != 0 -> drop(k)
		/* F9: the holder renews the kernel's element */
		:: j == 0 && k == 0 && term[i] > 0 && right(i) > fence[i] -> d_step { fence[i] = right(i) }
		/* F11: the holder closes, then says goodbye to agent j */
		:: i != j && term[i] > 0 && net[k].kind == 0 -> d_step {
			fence[i] = 0;
			ended[i] = term[i];
			if :: boundTo[i] == i -> unbind(i) :: else fi;
			net[k].kind = goodbye; net[k].from = i; net[k].to = j; net[k].term = term[i];
			stop(i) }
		/* F3: a restart forgets all but the kernel */
		:: j == 0 && k == 0 && restarts < RESTARTS -> d_step {
			restarts++; stop(i); unbind(i); ended[i] = 0; highest[i] = last; silent[i] = W }
		:: else
		fi;
		i = 0; j = 0; k = 0; yes = false }
	od
}

#define two(a, b) (fence[a] > 0 && fence[b] > 0)
never {
	do
	:: two(0, 1) || two(0, 2) || two(1, 2) -> break
	:: else
	od
}
