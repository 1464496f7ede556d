// SPDX-License-Identifier: Apache-2.0
//
// Result<T>: a value or an Error, spelled like std::expected so that the standard one can replace
// it.
//
// Why not absl::StatusOr: its codes fold errno values together (ENOTDIR, EISDIR, ENOTEMPTY become
// one), and a file system must answer the exact one; and frontends must not link absl.
// Threads: plain values.
#pragma once

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>
#include <variant>

namespace airstore {

// An errno with a message for people. `code` is authoritative, and never 0.
struct [[nodiscard]] Error {
  int code = EIO;
  std::string message;

  // "open /x/y: No such file or directory"
  std::string ToString() const {
    return message.empty() ? std::string(strerror(code)) : message + ": " + strerror(code);
  }
};

// From errno as it stands, or from `code`.
inline Error SysError(std::string what, int code = errno) { return Error{code, std::move(what)}; }

template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}      // NOLINT: as expected
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}  // NOLINT: as expected

  bool has_value() const { return state_.index() == 0; }
  explicit operator bool() const { return has_value(); }
  // REQUIRES: has_value()
  T& value() & { return *std::get_if<0>(&state_); }
  const T& value() const& { return *std::get_if<0>(&state_); }
  T&& value() && { return std::move(*std::get_if<0>(&state_)); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }
  // REQUIRES: !has_value()
  const Error& error() const { return *std::get_if<1>(&state_); }

 private:
  std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() : error_{0, {}} {}
  Result(Error error) : error_(std::move(error)) {}  // NOLINT: as expected

  bool has_value() const { return error_.code == 0; }
  explicit operator bool() const { return has_value(); }
  const Error& error() const { return error_; }

 private:
  Error error_;
};

}  // namespace airstore

// Returns the error of `expr` from the enclosing function, or goes on.
#define AIRSTORE_TRY(expr)                           \
  do {                                               \
    if (auto try_result_ = (expr); !try_result_) {   \
      return ::airstore::Error(try_result_.error()); \
    }                                                \
  } while (0)

// A bug, not an input: end the process, also in release builds.
#define AIRSTORE_CHECK(cond) \
  do {                       \
    if (!(cond)) abort();    \
  } while (0)
