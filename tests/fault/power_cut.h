// SPDX-License-Identifier: Apache-2.0
//
// PowerCut: a power that fails. The state directory is on a disk that is a file behind a loop
// device, and the copy of that in the middle of everything is the cut. Threads: the test's.
#pragma once

#include <string>

#include "tests/e2e/support/host.h"

namespace airstore::fault {

class PowerCut {
 public:
  // Puts the state of a broker, which ends and is forgotten, on a disk. Why not; empty: done.
  std::string UseDisk(e2e::Host& host);
  // All stops at once, and what the disk has is what there is.
  void Cut(e2e::Host& host);
  void StartBrokerAfterBoot(e2e::Host& host);
  // The broker ends, and all that it knew goes.
  void TakeDiskAway(e2e::Host& host);
};

}  // namespace airstore::fault
