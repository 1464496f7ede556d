// SPDX-License-Identifier: Apache-2.0
//
// Secrets in memory: what held one is overwritten before its memory goes to somebody else. Copies
// that libraries make (gRPC's metadata, the kernel's buffers) are out of reach.
//
// Threads: plain values.
#pragma once

#include <string.h>

#include <string>
#include <utility>

namespace airstore {

// Overwrites the whole of its memory, also what is behind the end of the text.
inline void Wipe(std::string& text) {
  text.resize(text.capacity());
  explicit_bzero(text.data(), text.size());
  text.clear();
}

// Wipes a string of the enclosing scope at its end.
class WipeAtEnd {
 public:
  explicit WipeAtEnd(std::string& text) : text_(text) {}
  ~WipeAtEnd() { Wipe(text_); }
  WipeAtEnd(const WipeAtEnd&) = delete;
  WipeAtEnd& operator=(const WipeAtEnd&) = delete;

 private:
  std::string& text_;
};

// A text that wipes itself.
class Secret {
 public:
  Secret() = default;
  Secret(std::string text) : text_(std::move(text)) { Wipe(text); }  // NOLINT: a secret is a text
  Secret(const char* text) : text_(text) {}                          // NOLINT: ditto
  Secret(const Secret& other) : text_(other.text_) {}
  Secret(Secret&& other) noexcept : text_(std::move(other.text_)) { Wipe(other.text_); }
  Secret& operator=(Secret other) noexcept {
    text_.swap(other.text_);
    return *this;
  }
  ~Secret() { Wipe(text_); }

  const std::string& text() const { return text_; }
  operator const std::string&() const { return text_; }  // NOLINT: ditto
  bool empty() const { return text_.empty(); }
  friend bool operator==(const Secret& one, const Secret& other) {
    return one.text_ == other.text_;
  }

 private:
  std::string text_;
};

}  // namespace airstore
