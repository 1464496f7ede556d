// SPDX-License-Identifier: Apache-2.0
//
// RestartPolicy: how fast a mount's frontends are replaced, and which request is to blame when they
// crash again and again.
//
// A leaking bucket: each crash fills it by much, each kill from outside by little, and it leaks
// while a frontend lives. While it is over the brim, the pause before the next start doubles.
// Threads: one at a time.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <vector>

namespace airstore::broker {

class RestartPolicy {
 public:
  // A frontend has ended. `killed`: by SIGKILL, so somebody else's doing. The pause before the
  // next.
  std::chrono::milliseconds Ended(std::chrono::nanoseconds lived, bool killed);
  // A frontend has crashed with these requests in work. Those that were in work in each of the last
  // few crashes: they are to be refused.
  std::vector<uint64_t> Blame(const std::vector<uint64_t>& in_work);

 private:
  double bucket_ = 0;
  std::chrono::milliseconds pause_{0};
  std::map<uint64_t, int> crashes_;  // by request
};

}  // namespace airstore::broker
