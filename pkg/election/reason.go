package election

// Reason is why the machine took, gave up or does not claim an address. Its text is stable: it is
// the label in metrics and the reason in Events, logs and `kvip status`.
type Reason string

// Reasons for taking.
const (
	ReasonReleased Reason = "Released" // the holder released it in order
	ReasonExpired  Reason = "Expired"  // the lease did not change for its whole duration
	ReasonSilent   Reason = "Silent"   // a majority of the agents has lost the holder (F4)
	ReasonGoodbye  Reason = "Goodbye"  // the holder ended its term by a message (F11)
	ReasonAdopted  Reason = "Adopted"  // a restarted agent found its own lease and address
	ReasonRegained Reason = "Regained" // the lease was confirmed again after the address was removed
)

// Reasons for giving up.
const (
	ReasonShutdown          Reason = "Shutdown"
	ReasonMoved             Reason = "Moved" // `kvip move`
	ReasonAPIServerDead     Reason = "APIServerDead"
	ReasonAPIServerShutdown Reason = "APIServerShutdown"
	ReasonAPIServerNotReady Reason = "APIServerNotReady"
	ReasonAPIServerSlow     Reason = "APIServerSlow"
	ReasonLinkDown          Reason = "LinkDown"
	ReasonFenceExpired      Reason = "FenceExpired"
	ReasonLeaseLost         Reason = "LeaseLost"
	ReasonPaused            Reason = "Paused"
	ReasonHigherTerm        Reason = "HigherTerm"
	ReasonAddressConflict   Reason = "AddressConflict"
	ReasonCannotOwn         Reason = "CannotOwn"
	ReasonAddressRemoved    Reason = "AddressRemoved"
	ReasonAddressInUse      Reason = "AddressInUse"
	ReasonLeftover          Reason = "Leftover"
)

// Reasons for waiting.
const (
	ReasonStarting          Reason = "Starting"
	ReasonHeldByOther       Reason = "HeldByOther"
	ReasonLeaseUnknown      Reason = "LeaseUnknown"
	ReasonWaitingForExpiry  Reason = "WaitingForExpiry"
	ReasonBackingOff        Reason = "BackingOff"
	ReasonAddressNotRemoved Reason = "AddressNotRemoved"
	ReasonClaiming          Reason = "Claiming"
)

// TransitionReasons returns the reasons with which an address is taken or given up.
func TransitionReasons() []Reason {
	return []Reason{
		ReasonReleased, ReasonExpired, ReasonSilent, ReasonGoodbye, ReasonAdopted, ReasonRegained,
		ReasonShutdown, ReasonMoved, ReasonAPIServerDead, ReasonAPIServerShutdown,
		ReasonAPIServerNotReady, ReasonAPIServerSlow, ReasonLinkDown,
		ReasonFenceExpired, ReasonLeaseLost, ReasonPaused, ReasonHigherTerm,
		ReasonAddressConflict, ReasonCannotOwn, ReasonAddressRemoved, ReasonAddressInUse, ReasonLeftover,
	}
}

var sentences = map[Reason]string{
	ReasonReleased:          "the last holder released the lease",
	ReasonExpired:           "the lease had not changed for its whole duration",
	ReasonSilent:            "a majority of the agents no longer heard the last holder",
	ReasonGoodbye:           "the last holder's term was over",
	ReasonAdopted:           "the agent was restarted and its lease and address were still its own",
	ReasonRegained:          "the lease was confirmed again",
	ReasonShutdown:          "the agent is shutting down",
	ReasonMoved:             "a person moved the address to another node",
	ReasonAPIServerDead:     "the API server of this node is dead",
	ReasonAPIServerShutdown: "the API server of this node is shutting down",
	ReasonAPIServerNotReady: "the API server of this node is not ready",
	ReasonAPIServerSlow:     "the API server of this node is slow",
	ReasonLinkDown:          "the link cannot carry the address",
	ReasonFenceExpired:      "the lease could not be renewed in time",
	ReasonLeaseLost:         "the lease no longer names this node",
	ReasonHigherTerm:        "another agent knows a later term of the lease",
	ReasonPaused:            "this process or machine was paused",
	ReasonAddressConflict: "another host announced the address and the lease could not be" +
		" confirmed in time",
	ReasonCannotOwn:        "the address could not be put on the link",
	ReasonAddressRemoved:   "another program on this host removed the address again and again",
	ReasonAddressInUse:     "another host already answers for the address",
	ReasonLeftover:         "an earlier agent left the address behind",
	ReasonStarting:         "the health of the API server is not known yet",
	ReasonHeldByOther:      "another node holds the lease",
	ReasonLeaseUnknown:     "the lease has not been read yet",
	ReasonWaitingForExpiry: "the lease has no holder, and its duration has not passed yet",
	ReasonBackingOff: "waiting before the next claim: this node could not own the address, found it" +
		" in use, or left because its API server was slow or `kvip move` asked for another node",
	ReasonAddressNotRemoved: "the address could not be removed from this host yet",
	ReasonClaiming:          "claiming the lease",
}

// Sentence explains r to a person. It is empty for an unknown reason.
func (r Reason) Sentence() string { return sentences[r] }
