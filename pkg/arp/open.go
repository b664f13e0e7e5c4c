package arp

// open opens what is not open: one socket per EtherType that the VIPs need. All or
// none. The caller holds the lock, as in all functions of this file.
func (s *VIPAnnouncer) open() error {
	if s.sockets != nil {
		return nil
	}
	if s.link.Index == 0 {
		return errNoLink
	}
	if err := s.link.check(); err != nil {
		return err
	}
	sockets := map[uint16]*socket{}
	for _, vip := range s.cfg.VIPs {
		etherType := uint16(etherARP)
		if vip.Is6() {
			etherType = etherIPv6
		}
		if sockets[etherType] != nil {
			continue
		}
		conn, err := s.listenOn(etherType)
		if err != nil {
			for _, sock := range sockets {
				sock.Close()
			}
			return err
		}
		sockets[etherType] = &socket{Conn: conn}
	}
	s.sockets, s.opened = sockets, s.cfg.Clock()
	if sockets[etherIPv6] != nil {
		s.source = s.linkLocal(s.link.Index)
	}
	s.restart() // what was sent before the trouble may not have arrived
	return nil
}

func (s *VIPAnnouncer) listenOn(etherType uint16) (Conn, error) {
	program, err := filter(etherType, s.cfg.VIPs)
	if err != nil {
		return nil, err
	}
	return s.cfg.Listen(s.link, etherType, program)
}

// trouble closes the sockets, to be opened again after a pause that grows while they do
// not last. It logs the first of a series.
func (s *VIPAnnouncer) trouble(err error) {
	if s.link.Index == 0 {
		return // nothing is wrong: there is no link yet
	}
	if s.failed(s.cfg.Clock(), s.sockets != nil) {
		s.cfg.Log.Warn("announcing interrupted, opening the packet sockets again", "link", s.link.Name, "reason", err.Error())
	}
	s.close()
}

func (s *VIPAnnouncer) close() {
	for _, sock := range s.sockets {
		sock.Close() // nothing to do about an error: the reader ends either way
	}
	s.sockets = nil
}

// shut is the end of Run.
func (s *VIPAnnouncer) shut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running, s.until = false, nil
	clear(s.bursts)
	s.close()
}

func (s *VIPAnnouncer) wake() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// refreshSource looks for a link-local address that came after the sockets were opened.
func (s *VIPAnnouncer) refreshSource() {
	if s.sockets[etherIPv6] != nil && !s.source.IsValid() {
		s.source = s.linkLocal(s.link.Index)
	}
}
