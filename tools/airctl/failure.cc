// SPDX-License-Identifier: Apache-2.0
#include "tools/airctl/failure.h"

#include <algorithm>
#include <cctype>
#include <nlohmann/json.hpp>

#include "tools/airctl/format.h"

namespace airstore::airctl {

int ExitCode(FailureKind kind) {
  return control::v1::FailureKind_IsValid(kind) ? static_cast<int>(kind) + 1 : 1;
}

std::string KindName(FailureKind kind) {
  constexpr size_t kPrefix = sizeof "FAILURE_KIND_" - 1;
  std::string name = control::v1::FailureKind_Name(kind);
  if (name.size() <= kPrefix) return "internal";
  name.erase(0, kPrefix);
  std::transform(name.begin(), name.end(), name.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return name;
}

void PrintFailure(std::ostream& out, const Failure& failure, bool json) {
  if (json) {
    const nlohmann::ordered_json error = {{"error",
                                           {{"kind", KindName(failure.kind)},
                                            {"message", failure.message},
                                            {"advice", failure.advice}}}};
    out << error.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) << "\n";
    return;
  }
  out << "airctl: " << Printable(failure.message);
  if (!failure.advice.empty()) out << ": " << Printable(failure.advice);
  out << "\n";
}

}  // namespace airstore::airctl
