/*
 * Mode fast of the election: F1 to F4, F6 and F11 for three agents, which are the voters.
 *
 * Checked: at no instant do two kernels answer for the address, whichever agent is frozen,
 * restarted or cut off, and whichever message or write is lost or late.
 *
 * Assumptions
 * - Time is a number of ticks, the same for all. T = 2, W = 3: the difference stands for drift,
 *   the fence's ticket and its grain. A lease lasts D = 3 ticks in mode slow and DL = 4 in mode
 *   fast, of which a holder uses one tick less (E1).
 * - An agent takes a step at any time or never. A frozen one is one that takes none. A step is
 *   atomic: the fence's ticket makes a look at the clock and the renewal after it so (F9).
 * - A message is lost, or delivered at any time. Of each kind one is under way between two agents,
 *   and a newer one replaces it.
 * - A write is applied at any time if the Lease still has the version that it builds on, or never.
 *   One write of an agent is under way. It outlives its agent.
 * - The watch shows the Lease at any time. Versions and terms end at LAST, restarts at RESTARTS.
 * - Left out: changes of the voters (F7), edits and backups (F8), the kernel (F9), the network's
 *   probe (E9), which only adds refusals.
 */
#define N 3
#define NONE 3
#define T 2
#define W 3
#define D 3
#define DL 4

#ifndef LAST
#define LAST 4
#endif
#ifndef RESTARTS
#define RESTARTS 1
#endif

typedef Row { byte to[N] }

/* the Lease */
byte version = 1, holder = NONE, term, released = NONE; bool fast;

/* the kernels: ticks for which each still answers */
byte fence[N];

/* what each agent has observed of the Lease */
byte sawVersion[N], sawHolder[N], sawTerm[N], sawReleased[N], unchanged[N]; bool sawFast[N];

/* the voters: highest term, who they are bound to by which term and for how long, the ended terms */
byte highest[N], boundTo[N], boundTerm[N], boundFor[N], silent[N], ended[N]; bool hasRead[N];

/* the holders: the confirmed write, and what each voter's acknowledgement is still worth */
bool holding[N], confirmedFast[N], majority[N]; byte ownTerm[N], confirmedFor[N]; Row worth[N];

/* the write of each agent that may still be applied, as it is under way and as the agent knows it */
bool under[N], underFast[N], open[N], openFast[N];
byte underBase[N], underTerm[N], underHolder[N], openBase[N], openTerm[N], openFor[N], applied[N];

/* messages: beat and acknowledgement with their term (0: none) and worth; goodbye with its term */
Row beatTerm[N], beatWorth[N], ackTerm[N], ackWorth[N], goodbye[N];

byte restarts, i, j;

inline less(x) { if :: x > 0 -> x-- :: else fi }
inline more(x, limit) { if :: x < limit -> x++ :: else fi }

/* the instant passes: what lasts gets shorter, by itself */
inline tick() {
	for (i : 0 .. N-1) {
		less(fence[i]); less(boundFor[i]); less(silent[i]); less(confirmedFor[i]); less(openFor[i]);
		more(unchanged[i], DL);
		for (j : 0 .. N-1) {
			less(worth[i].to[j]); less(beatWorth[i].to[j]); less(ackWorth[i].to[j])
		}
	}
	i = 0; j = 0
}

/* F1: what the second best acknowledgement of three is worth */
inline byMajority(a, r) {
	if
	:: worth[a].to[0] <= worth[a].to[1] && worth[a].to[0] <= worth[a].to[2] ->
		r = (worth[a].to[1] < worth[a].to[2] -> worth[a].to[1] : worth[a].to[2])
	:: else ->
		if
		:: worth[a].to[1] <= worth[a].to[0] && worth[a].to[1] <= worth[a].to[2] ->
			r = (worth[a].to[0] < worth[a].to[2] -> worth[a].to[0] : worth[a].to[2])
		:: else -> r = (worth[a].to[0] < worth[a].to[1] -> worth[a].to[0] : worth[a].to[1])
		fi
	fi
}

/* F1: the right of the confirmed write and of the open one, as far as its fate is unknown */
inline right(a, r) {
	byMajority(a, r);
	r = (confirmedFast[a] && r < confirmedFor[a] -> r : confirmedFor[a]);
	if
	:: open[a] && openBase[a] == sawVersion[a] ->
		byMajority(a, m);
		m = (openFast[a] && m < openFor[a] -> m : openFor[a]);
		r = (m < r -> m : r)
	:: else
	fi;
	m = 0
}

/* an agent sends a write on top of what it saw */
inline send(a, who, number, isFast, lasts) {
	under[a] = true; underBase[a] = sawVersion[a]; underHolder[a] = who; underTerm[a] = number;
	underFast[a] = isFast;
	open[a] = true; openBase[a] = sawVersion[a]; openTerm[a] = number; openFast[a] = isFast;
	openFor[a] = lasts; applied[a] = 0
}

/* F2: a voter and a beat. An agent's own beat needs no message */
inline vote(v, h, number, value) {
	if
	:: silent[v] == 0 && hasRead[v] && number >= highest[v] && ended[v] < number &&
	   !(sawTerm[v] == number && sawHolder[v] != h) && !(boundTo[v] != h && boundFor[v] > 0) ->
		highest[v] = number;
		boundTo[v] = h; boundTerm[v] = number; boundFor[v] = W;
		if
		:: v == h -> worth[h].to[v] = value
		:: else -> ackTerm[v].to[h] = number; ackWorth[v].to[h] = value
		fi
	:: else
	fi
}

inline standby(a) {
	holding[a] = false; confirmedFast[a] = false; majority[a] = false; ownTerm[a] = 0;
	confirmedFor[a] = 0;
	worth[a].to[0] = 0; worth[a].to[1] = 0; worth[a].to[2] = 0
}

active proctype world() {
	byte r, m;
	for (i : 0 .. N-1) {
		sawHolder[i] = NONE; sawReleased[i] = NONE; boundTo[i] = NONE; sawVersion[i] = 1; hasRead[i] = true
	}
	i = 0;
	/* agent 0 holds in mode slow, and the wait of the others has just begun */
	holder = 0; term = 1; version = 2;
	for (i : 0 .. N-1) {
		sawHolder[i] = 0; sawTerm[i] = 1; sawVersion[i] = 2; highest[i] = 1
	}
	i = 0;
	holding[0] = true; ownTerm[0] = 1; confirmedFor[0] = D-1;

	do
	:: d_step { tick() }

	:: atomic { /* a step of agent i, or of the network from i to j */
		i = 0; j = 0;
		do :: i < N-1 -> i++ :: break od;
		do :: j < N-1 -> j++ :: break od;
		if
		/* the watch */
		:: j == 0 && sawVersion[i] != version -> d_step {
			sawVersion[i] = version; sawHolder[i] = holder; sawTerm[i] = term; sawFast[i] = fast;
			sawReleased[i] = released; unchanged[i] = 0; hasRead[i] = true;
			if :: term > highest[i] -> highest[i] = term :: else fi;
			if
			:: open[i] && applied[i] == version && holder == i -> /* its own write, confirmed */
				if
				:: !holding[i] || ownTerm[i] != term -> standby(i)
				:: else
				fi;
				holding[i] = true; ownTerm[i] = term; confirmedFast[i] = fast;
				confirmedFor[i] = openFor[i]
			:: else
			fi;
			if
			:: holding[i] && (holder != i || term != ownTerm[i]) -> fence[i] = 0; standby(i)
			:: else
			fi;
			if :: openBase[i] != version -> open[i] = false; applied[i] = 0 :: else fi }

		/* the API server applies a write, or it is lost */
		:: j == 0 && under[i] -> d_step {
			if
			:: underBase[i] == version && version < LAST+2 ->
				version++; holder = underHolder[i]; term = underTerm[i]; fast = underFast[i];
				released = (underHolder[i] == NONE -> i : NONE);
				if :: open[i] -> applied[i] = version :: else fi
			:: else
			fi;
			under[i] = false }
		:: j == 0 && under[i] -> under[i] = false

		/* a holder sends a beat to voter j */
		:: holding[i] -> d_step {
			if
			:: i == j -> vote(i, i, ownTerm[i], T)
			:: else -> beatTerm[i].to[j] = ownTerm[i]; beatWorth[i].to[j] = T
			fi }
		:: beatTerm[i].to[j] > 0 -> d_step {
			vote(j, i, beatTerm[i].to[j], beatWorth[i].to[j]);
			beatTerm[i].to[j] = 0; beatWorth[i].to[j] = 0 }
		:: ackTerm[j].to[i] > 0 -> d_step {
			if
			:: holding[i] && ackTerm[j].to[i] == ownTerm[i] && ackWorth[j].to[i] > worth[i].to[j] ->
				worth[i].to[j] = ackWorth[j].to[i];
				byMajority(i, r);
				if :: confirmedFast[i] && r > 0 -> majority[i] = true :: else fi;
				r = 0
			:: else
			fi;
			ackTerm[j].to[i] = 0; ackWorth[j].to[i] = 0 }

		/* F1, F9: the holder renews the kernel's element */
		:: j == 0 && holding[i] -> d_step {
			right(i, r);
			if :: r > 0 -> fence[i] = r :: else fi;
			r = 0 }

		/* renewal in the same mode */
		:: j == 0 && holding[i] && !under[i] && sawHolder[i] == i && sawTerm[i] == ownTerm[i] -> d_step {
			send(i, i, ownTerm[i], confirmedFast[i], (confirmedFast[i] -> DL-1 : D-1)) }
		/* F5, F6: the other mode; the kernel's element is cut first */
		:: j == 0 && holding[i] && !under[i] && sawHolder[i] == i && sawTerm[i] == ownTerm[i] &&
		   (!confirmedFast[i] || majority[i]) -> d_step {
			send(i, i, ownTerm[i], !confirmedFast[i], (confirmedFast[i] -> D-1 : DL-1));
			right(i, r);
			fence[i] = (r < fence[i] -> r : fence[i]);
			r = 0 }
		/* an agent that was restarted finds its own Lease */
		:: j == 0 && !holding[i] && !under[i] && !open[i] && hasRead[i] && sawHolder[i] == i &&
		   ended[i] < sawTerm[i] -> d_step {
			send(i, i, sawTerm[i], sawFast[i], (sawFast[i] -> DL-1 : D-1)) }

		/* F4: a claim of a fast Lease, at any time */
		:: j == 0 && !holding[i] && !under[i] && hasRead[i] && sawFast[i] && sawHolder[i] != i &&
		   sawHolder[i] != NONE && highest[i] < LAST -> d_step {
			send(i, i, highest[i]+1, true, DL-1) }
		/* E2, E3: a claim in mode slow */
		:: j == 0 && !holding[i] && !under[i] && hasRead[i] && sawHolder[i] != i && highest[i] < LAST &&
		   (unchanged[i] >= (sawFast[i] -> DL : D) || sawHolder[i] == NONE && sawReleased[i] != NONE) ->
			d_step { send(i, i, highest[i]+1, false, D-1) }

		/* F11: the holder leaves. It closes, and says goodbye if it is fast */
		:: j == 0 && holding[i] -> d_step {
			fence[i] = 0;
			if
			:: confirmedFast[i] ->
				ended[i] = ownTerm[i];
				goodbye[i].to[0] = ownTerm[i]; goodbye[i].to[1] = ownTerm[i]; goodbye[i].to[2] = ownTerm[i]
			:: else
			fi;
			if
			:: !under[i] && sawHolder[i] == i && (!confirmedFast[i] || majority[i]) ->
				send(i, NONE, ownTerm[i], false, 0)
			:: else
			fi;
			standby(i) }
		:: goodbye[i].to[j] > 0 -> d_step {
			if :: goodbye[i].to[j] > ended[j] -> ended[j] = goodbye[i].to[j] :: else fi;
			if
			:: boundTo[j] == i && boundTerm[j] <= goodbye[i].to[j] -> boundFor[j] = 0
			:: else
			fi;
			goodbye[i].to[j] = 0 }

		/* F3: a restart forgets everything but the kernel */
		:: j == 0 && restarts < RESTARTS -> d_step {
			restarts++;
			standby(i); open[i] = false; openBase[i] = 0; openFor[i] = 0; applied[i] = 0;
			highest[i] = 0; boundTo[i] = NONE; boundTerm[i] = 0; boundFor[i] = 0; ended[i] = 0;
			silent[i] = W; hasRead[i] = false; sawVersion[i] = 0; sawHolder[i] = NONE; sawTerm[i] = 0;
			sawFast[i] = false; sawReleased[i] = NONE; unchanged[i] = 0 }
		:: else
		fi;
		i = 0; j = 0 }
	od
}

#define two(a, b) (fence[a] > 0 && fence[b] > 0)
never {
	do
	:: two(0, 1) || two(0, 2) || two(1, 2) -> break
	:: else
	od
}
