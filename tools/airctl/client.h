// SPDX-License-Identifier: Apache-2.0
//
// BrokerClient: one conversation with the broker over its control socket.
// Threads: one.
#pragma once

#include <airstore/control/v1/control.pb.h>

#include <chrono>
#include <functional>
#include <string>

#include "shm/base/fd.h"
#include "tools/airctl/failure.h"
#include "tools/airctl/progress.h"

namespace airstore::airctl {

class BrokerClient {
 public:
  // FAILURE_KIND_UNREACHABLE when no broker listens there.
  static Outcome<BrokerClient> Connect(const std::string& path);

  // The final response; a failure that the broker answered becomes one here.
  Outcome<control::v1::Response> Call(const control::v1::Request& request, Progress& progress);

  // For calls from now on: who does not answer in that time is FAILURE_KIND_UNREACHABLE. 0: waits
  // for ever.
  void SetPatience(std::chrono::milliseconds patience) { patience_ = patience; }
  // Asked a few times a second; true ends the call as if the time were over.
  void SetGivenUp(std::function<bool()> given_up) { given_up_ = std::move(given_up); }
  // The last call failed because the connection ended.
  bool lost() const { return lost_; }

 private:
  BrokerClient(UniqueFd fd, std::string path) : fd_(std::move(fd)), path_(std::move(path)) {}

  bool ReadExactly(char* to, size_t bytes, Progress& progress);
  Failure Lost();
  bool Late() const;

  UniqueFd fd_;
  std::string path_;
  bool lost_ = false;
  std::chrono::milliseconds patience_{0};
  std::function<bool()> given_up_;
  std::chrono::steady_clock::time_point deadline_{};
};

}  // namespace airstore::airctl
