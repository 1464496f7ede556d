// SPDX-License-Identifier: Apache-2.0
//
// A second broker at the gateway of a Host, with state of its own: to the gateway, another host.
// Fails how: throws std::runtime_error, which ends the test with that message.
// Threads: the test's.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "tests/e2e/support/host.h"

namespace airstore::e2e {

class OtherBroker {
 public:
  // `host` must outlive it; its directory has the state and the mounts.
  explicit OtherBroker(const Host& host);

  void Start();
  void Stop();
  // And what it served.
  void Kill();
  void Signal(int number) const { broker_.Signal(number); }

  Finished Airctl(const Arguments& arguments, const RunOptions& options = {}) const;
  // Of a workspace of the host, on the directory `name`, which it returns.
  std::string Mount(const std::string& workspace, const std::string& name);
  void Unmount(const std::string& mountpoint);
  bool HoldsLease() const;
  // Unmounts, forgets everything, mounts again: what is there then came from the gateway.
  std::string RemountFresh(const std::string& workspace, const std::string& mountpoint);

 private:
  nlohmann::json Json(const Arguments& arguments) const;
  std::string state() const { return host_.Path("other-state"); }

  const Host& host_;
  Process broker_;
};

}  // namespace airstore::e2e
