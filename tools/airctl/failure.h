// SPDX-License-Identifier: Apache-2.0
//
// What airctl says and exits with when something did not work.
// Threads: plain values.
#pragma once

#include <airstore/control/v1/control.pb.h>

#include <optional>
#include <ostream>
#include <string>
#include <utility>

namespace airstore::airctl {

using control::v1::FailureKind;

struct Failure {
  FailureKind kind = control::v1::FAILURE_KIND_INTERNAL;
  std::string message;  // what happened, to what
  std::string advice;   // what to do; may be empty
};

template <typename T>
struct [[nodiscard]] Outcome {
  Outcome(T from) : value(std::move(from)) {}          // NOLINT: as expected
  Outcome(Failure from) : failure(std::move(from)) {}  // NOLINT: as expected

  std::optional<T> value;
  Failure failure;  // when there is no value
};

// 1 to 9, as control.proto lists them.
int ExitCode(FailureKind kind);
// "usage", "not_found", ...
std::string KindName(FailureKind kind);

// "airctl: what happened: advice", or {"error":{...}} for programs.
void PrintFailure(std::ostream& out, const Failure& failure, bool json);

}  // namespace airstore::airctl
