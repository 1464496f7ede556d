// SPDX-License-Identifier: Apache-2.0
//
// Notifier: writes invalidations to one mount's device, in a process of its own.
//
// The kernel may keep who writes one waiting for a lock that a request of this very mount holds. A
// thread of ours in such a wait could not be killed, and a broker that cannot end keeps its
// successor out, which alone could answer that request. The process has the device and nothing else
// of ours; it ends when its broker is gone and the kernel has let it go.
//
// Threads: the event loop.
// Owns: the process.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "broker/launcher.h"
#include "broker/task.h"

namespace airstore::broker {

class Notifier {
 public:
  // `device` is borrowed. The process is started when it is first needed.
  Notifier(const boost::asio::any_io_executor& executor, LaunchOptions launch, int device);
  ~Notifier();
  Notifier(const Notifier&) = delete;
  Notifier& operator=(const Notifier&) = delete;

  // Returns when the messages were written to the device, in order with those of earlier calls.
  // What the kernel says to them does not matter: it does not know what it was told to forget.
  Task<void> Send(std::vector<std::string> messages);
  // What Send takes to have the process look up an absolute path.
  static std::string LookUpMessage(std::string_view path);

 private:
  struct State;
  static Result<void> Start(const std::shared_ptr<State>& state);
  static Task<void> Run(std::shared_ptr<State> state);

  // Shared with the coroutine that talks to the process.
  std::shared_ptr<State> state_;
};

}  // namespace airstore::broker
