// SPDX-License-Identifier: Apache-2.0
#include "tests/fault/bad_successor.h"

#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

#include "broker/handover_message.h"

namespace airstore::fault {
namespace {

using broker::HandoverMessage;
using broker::HandoverStep;

void Say(int socket, HandoverStep step, uint64_t capabilities, uint64_t needs) {
  HandoverMessage message;
  message.step = step;
  message.capabilities = capabilities;
  message.needs = needs;
  strcpy(message.version, "9.9-test");
  strcpy(message.text, "for a reason");
  (void)!write(socket, &message, sizeof message);
}

void Hear(int socket) {
  HandoverMessage message;
  (void)!recv(socket, &message, sizeof message, 0);
}

}  // namespace

bool RunBadSuccessor(const std::string& name) {
  const char* number = getenv(broker::kHandoverVariable);
  if (number == nullptr) return false;
  const int socket = atoi(number);
  constexpr uint64_t kAll = ~uint64_t{0};
  if (name == "silent") {
    Hear(socket);  // nothing comes; until the broker ends us
    return true;
  }
  const bool incapable = name == "incapable";
  Say(socket, HandoverStep::kHello, incapable ? 1 : kAll, name == "demanding" ? kAll : 0);
  Hear(socket);
  if (name == "refusing") Say(socket, HandoverStep::kRefused, kAll, 0);
  if (name == "dies-when-ready" || name == "dies-after-go") {
    Say(socket, HandoverStep::kReady, kAll, 0);
    if (name == "dies-after-go") Hear(socket);
  }
  return true;
}

}  // namespace airstore::fault
