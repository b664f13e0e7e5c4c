/*
 * The modes exclude two holders: F1, F4, F6, F8's order of terms, F11 and E1 to E3 for two agents
 * that claim and as many others as the group has.
 *
 * Checked: at no instant do two kernels answer for the address.
 *
 * Assumptions
 * - Time is a number of ticks, the same for all. A lease lasts D ticks in mode slow and DL in mode
 *   fast, of which a holder uses one tick less (E1). A promise lasts W ticks, the right that it
 *   gives T ticks.
 * - The promises of a majority are one promise: promises.pml checks that they are as good. It is
 *   for the highest term that ever had a majority, or a higher one (F2).
 * - An agent takes a step at any time, or never. A step is atomic (F9).
 * - A write is applied at any time if the Lease still has the version on which it builds, or never.
 *   One write of an agent is under way. It outlives its agent. The answer to it is lost, or comes
 *   at any time, as does what the watch shows.
 * - Terms end at TERMS and restarts at RESTARTS.
 * - Left out: changes of the voters (F7), edits and backups (F8), and the probe of the network
 *   (E9), without which more is possible.
 */
#define N 2
#define NONE 2
#define T 1
#define W 2
#define D 2
#define DL 4
#ifndef TERMS
#define TERMS 2
#endif
#ifndef RESTARTS
#define RESTARTS 1
#endif

/* the Lease */
byte holder, term = 1;
bool fast, released;

byte restarts;
byte fence[N];  /* for how many ticks the kernel still answers */

/* what an agent has observed of the Lease, and since how many ticks nothing else */
bool current[N], sawFast[N], sawReleased[N];
byte sawHolder[N], sawTerm[N], unchanged[N];

/* the promise of a majority, and for how long its acknowledgement still counts */
byte boundTo = NONE, boundFor, highest, acked[N];

/* holders: the confirmed write, for how long it gives a right, whether a majority has acknowledged
   in this fast term, and for how many ticks it has not */
bool holds[N], isFast[N], majority[N];
byte ownTerm[N], lasts[N], waited[N];

/* the write of an agent: open until its fate is known; under way until it is applied or lost, and
   fresh while it builds on the present version */
bool open[N], applied[N], underWay[N], fresh[N], writeFast[N], release[N];
byte writeTerm[N], writeLasts[N];

byte i, j, r;

#define least(a, b) (a < b -> a : b)
#define given(mode, ticks) (mode -> least(acked[i], ticks) : ticks)
#define mayWrite(a) (!underWay[a] && !open[a])
#define named(a) (sawHolder[a] == a && sawTerm[a] == ownTerm[a])

inline pass(x) { if :: x > 0 -> x-- :: else fi }
inline more(x) { if :: x < DL -> x++ :: else fi }

inline tick() {
	for (i : 0 .. N-1) {
		pass(fence[i]); pass(acked[i]); pass(lasts[i]); pass(writeLasts[i]);
		if :: holds[i] -> unchanged[i] = 0 :: else -> more(unchanged[i]) fi;
		if :: isFast[i] && !majority[i] -> more(waited[i]) :: else fi
	}
	pass(boundFor);
	if :: boundFor == 0 -> boundTo = NONE :: else fi;
	i = 0
}

inline stop(a) {
	holds[a] = false; isFast[a] = false; majority[a] = false;
	ownTerm[a] = 0; lasts[a] = 0; waited[a] = 0; acked[a] = 0
}

inline forget(a) {
	if
	:: !open[a] && !underWay[a] -> writeFast[a] = false; writeTerm[a] = 0; release[a] = false
	:: else
	fi
}
inline resolve(a) { open[a] = false; applied[a] = false; writeLasts[a] = 0; forget(a) }
inline settle(a) { underWay[a] = false; fresh[a] = false; forget(a) }

/* F1: r becomes the right of agent a: what the states before and after an open write both give */
inline right(a) {
	r = given(isFast[a], lasts[a]);
	if
	:: open[a] && writeTerm[a] == ownTerm[a] -> r = least(r, given(writeFast[a], writeLasts[a]))
	:: else
	fi
}

inline write(who, number, mode, ticks) {
	underWay[i] = true; fresh[i] = current[i]; release[i] = (who == NONE);
	open[i] = true; applied[i] = false;
	writeFast[i] = mode; writeTerm[i] = number; writeLasts[i] = ticks
}

inline confirm(a) {
	if
	:: !holds[a] || ownTerm[a] != writeTerm[a] ->
		stop(a); holds[a] = true; ownTerm[a] = writeTerm[a]
	:: else
	fi;
	isFast[a] = writeFast[a]; lasts[a] = writeLasts[a];
	resolve(a)
}

active proctype world() {
	/* agent 0 holds in mode slow */
	for (i : 0 .. N-1) { sawTerm[i] = 1; current[i] = true }
	i = 0;
	holds[0] = true; ownTerm[0] = 1; lasts[0] = D-1;
	do
	:: d_step { tick() }
	:: atomic { /* a step of agent i */
		i = 0;
		do :: i < N-1 -> i++ :: break od;
		if
		/* the watch */
		:: !current[i] -> d_step {
			current[i] = true; sawHolder[i] = holder; sawTerm[i] = term; sawFast[i] = fast;
			sawReleased[i] = released; unchanged[i] = 0;
			if
			:: applied[i] && holder == i && term == writeTerm[i] && fast == writeFast[i] ->
				confirm(i)
			:: else
			fi;
			if
			:: holds[i] && (holder != i || term != ownTerm[i]) -> fence[i] = 0; stop(i)
			:: else
			fi;
			if :: open[i] -> resolve(i) :: else fi }
		/* the answer to a write, before the watch */
		:: applied[i] && !current[i] && writeLasts[i] > 0 -> d_step { confirm(i) }
		/* the API server applies a write, refuses it, or never gets it */
		:: underWay[i] -> d_step {
			if
			:: fresh[i] ->
				holder = (release[i] -> NONE : i); term = writeTerm[i]; fast = writeFast[i];
				released = release[i];
				for (j : 0 .. N-1) { current[j] = false; fresh[j] = false }
				j = 0;
				applied[i] = open[i] && !release[i]
			:: else
			fi;
			settle(i) }
		:: underWay[i] -> d_step { settle(i) }

		/* F2, F5: a majority acknowledges a beat, in mode slow as well */
		:: holds[i] && acked[i] < T && ownTerm[i] >= highest &&
		   (boundTo == i || boundTo == NONE) -> d_step {
			boundTo = i; boundFor = W; highest = ownTerm[i]; acked[i] = T;
			if :: isFast[i] -> majority[i] = true; waited[i] = 0 :: else fi }
		/* F9: the holder renews the kernel's element */
		:: holds[i] -> d_step {
			right(i);
			if :: r > fence[i] -> fence[i] = r :: else fi;
			r = 0 }
		/* a renewal */
		:: holds[i] && mayWrite(i) && named(i) -> d_step {
			write(i, ownTerm[i], isFast[i], (isFast[i] -> DL : D)-1) }
		/* F5, F6: the other mode. The kernel's element is cut first (F1) */
		:: holds[i] && mayWrite(i) && named(i) &&
		   (!isFast[i] || majority[i] || waited[i] >= DL) -> d_step {
			write(i, ownTerm[i], !isFast[i], (isFast[i] -> D : DL)-1);
			right(i);
			if :: fence[i] > r -> fence[i] = r :: else fi;
			r = 0 }
		/* E8: a restarted agent renews its Lease of mode slow */
		:: !holds[i] && mayWrite(i) && sawHolder[i] == i && !sawFast[i] -> d_step {
			write(i, sawTerm[i], false, D-1) }
		/* F4: a claim of a fast Lease, whether or not its holder is lost */
		:: !holds[i] && mayWrite(i) && sawFast[i] && sawHolder[i] != NONE &&
		   sawTerm[i] < TERMS -> d_step { write(i, sawTerm[i]+1, true, DL-1) }
		/* E2, E3: a claim in mode slow */
		:: !holds[i] && mayWrite(i) && sawHolder[i] != i && sawTerm[i] < TERMS &&
		   (unchanged[i] >= (sawFast[i] -> DL : D) || sawReleased[i]) -> d_step {
			write(i, sawTerm[i]+1, false, D-1) }
		/* F11, E3: the holder closes and leaves */
		:: holds[i] -> d_step {
			fence[i] = 0;
			if :: isFast[i] && boundTo == i -> boundTo = NONE; boundFor = 0 :: else fi;
			if
			:: mayWrite(i) && named(i) && (!isFast[i] || majority[i]) ->
				write(NONE, ownTerm[i], false, 0)
			:: else
			fi;
			stop(i) }
		/* a restart forgets all but the kernel */
		:: restarts < RESTARTS -> d_step {
			restarts++; stop(i); resolve(i); current[i] = false;
			sawHolder[i] = NONE; sawTerm[i] = TERMS; sawFast[i] = false; sawReleased[i] = false;
			unchanged[i] = 0 }
		:: else
		fi;
		i = 0 }
	od
}

never {
	do
	:: fence[0] > 0 && fence[1] > 0 -> break
	:: else
	od
}
