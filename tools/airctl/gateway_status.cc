// SPDX-License-Identifier: Apache-2.0
#include "tools/airctl/gateway_status.h"

#include <algorithm>
#include <string>

#include "shm/base/wipe.h"
#include "tools/airctl/client.h"
#include "tools/airctl/format.h"
#include "tools/airctl/json_output.h"
#include "tools/airctl/progress.h"
#include "tools/airctl/table.h"

namespace airstore::airctl {
namespace {

namespace wire = control::v1;

void Print(std::ostream& out, const wire::GatewayStatusList& list, bool colours) {
  Table table({"GATEWAY", "STATE", "ROUND TRIP>", "MOUNTED HERE>", "STORE", "READ>", "SESSIONS>"});
  for (const wire::GatewayState& one : list.gateways()) {
    std::string store = "?", read = "?", sessions = "?";
    if (one.told()) {
      store = Printable(one.metadata()) + ", " + Printable(one.blocks());
      read = HumanLatency(one.read_us() * 1000);
      sessions = std::to_string(one.sessions());
    }
    const bool whole = one.reached() && one.problem().empty();
    table.Add({Printable(one.address()),
               {whole           ? "answers"
                : one.reached() ? "refuses"
                                : "does not answer",
                whole ? Colour::kGood : Colour::kBad},
               one.reached() ? HumanLatency(one.round_trip_us() * 1000) : "-",
               std::to_string(one.sessions_here()),
               store,
               read,
               sessions});
  }
  table.Print(out, colours);
  std::string said;
  for (const wire::GatewayState& one : list.gateways()) {
    if (!one.problem().empty()) {
      out << Printable(one.address()) << ": " << Printable(one.problem()) << "\n";
    }
    // Of one store it is the same for all.
    if (one.weakness().empty() || one.weakness() == said) continue;
    said = one.weakness();
    out << Painted("fsync promises less", Colour::kWarn, colours) << " at "
        << Printable(one.address()) << ": " << Printable(said) << "\n";
  }
}

}  // namespace

std::optional<Failure> GatewayStatus(const Invocation& asked, const Surroundings& around,
                                     const wire::GatewayRef& gateway) {
  wire::Request request;
  wire::GatewayRef* named = request.mutable_gateway_status()->mutable_gateway();
  *named = gateway;
  const WipeAtEnd wipe(*named->mutable_token());
  Progress progress("asking", asked.verbose);
  auto client = BrokerClient::Connect(asked.socket);
  if (!client.value) return client.failure;
  const auto answer = client.value->Call(request, progress);
  if (!answer.value) return answer.failure;
  const wire::GatewayStatusList& list = answer.value->gateway_status();
  if (list.gateways().empty()) {
    return Failure{wire::FAILURE_KIND_USAGE, "no gateway was named, and no mount uses one",
                   "give --gateway ADDRESS"};
  }
  if (asked.json) {
    around.out << ToJson(list) << "\n";
  } else {
    Print(around.out, list, around.colours);
  }
  const bool any = std::any_of(list.gateways().begin(), list.gateways().end(),
                               [](const wire::GatewayState& one) { return one.reached(); });
  if (any) return {};
  return Failure{wire::FAILURE_KIND_UNREACHABLE, asked.json ? "" : "no gateway answers",
                 "check the addresses, and that they run"};
}

}  // namespace airstore::airctl
