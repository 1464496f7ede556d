// SPDX-License-Identifier: Apache-2.0
#include "tools/airctl/doctor_command.h"

#include <unistd.h>

#include "tools/airctl/client.h"
#include "tools/airctl/doctor.h"
#include "tools/airctl/doctor_broker.h"
#include "tools/airctl/doctor_host.h"
#include "tools/airctl/json_output.h"

namespace airstore::airctl {
namespace {

namespace wire = control::v1;

constexpr std::chrono::seconds kPatience{4};  // with a broker that hangs

void Append(std::vector<Finding> more, Diagnosis* to) {
  for (Finding& finding : more) to->findings.push_back(std::move(finding));
}

Outcome<wire::StatusResponse> AskBroker(const std::string& socket) {
  Progress progress("asking the broker", false);
  auto client = BrokerClient::Connect(socket);
  if (!client.value) return client.failure;
  client.value->SetPatience(kPatience);
  wire::Request request;
  request.mutable_status();
  auto answer = client.value->Call(request, progress);
  if (!answer.value) return answer.failure;
  return std::move(*answer.value->mutable_status());
}

}  // namespace

std::optional<Failure> Doctor(const Invocation& asked, const Surroundings& around) {
  Diagnosis found = Diagnose({}, geteuid() == 0);
  Append(LookAtHost({.configuration = ConfigurationFile(around.getenv)}), &found);
  const auto status = AskBroker(asked.socket);
  if (status.value) {
    Append(LookAtBroker(*status.value), &found);
  } else {
    found.findings.push_back(BrokerMissing(asked.socket, status.failure));
  }
  if (asked.json) {
    around.out << ToJson(ReportOf(found)) << "\n";
  } else {
    PrintDiagnosis(around.out, found, around.colours);
  }
  // Programs have been told.
  const auto say = [&](const char* text) { return asked.json ? std::string() : text; };
  if (!found.fuse && !found.nfs) {
    return Failure{wire::FAILURE_KIND_NO_BACKEND,
                   say("nothing can be mounted here: neither FUSE nor NFS is to be had"), ""};
  }
  if (IsWrong(found)) return Failure{wire::FAILURE_KIND_HOST, say("something is wrong"), ""};
  return {};
}

}  // namespace airstore::airctl
