// SPDX-License-Identifier: Apache-2.0
//
// A ContextClient that, while a change is carried out, has it on record before the first call that
// changes something at the gateway: what only looked has changed nothing, however it failed, and is
// looked at again with all conditions.
//
// Threads: the event loop.
// Ownership: owns the client that it passes everything on to, borrows the state.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "broker/v1/context_client.h"
#include "broker/v1/session_state.h"

namespace airstore::broker::v1 {

class NotingClient final : public ContextClient {
 public:
  explicit NotingClient(std::unique_ptr<ContextClient> inner) : inner_(std::move(inner)) {}

  // From here on calls are of that change, until Leave(). `inode`: whose content it changes, or 0.
  void Enter(SessionState* state, uint64_t sequence, uint64_t inode) {
    change_ = {state, sequence, inode};
    unrecorded_.reset();
  }
  void Leave() { change_ = {}; }
  // Why the change could not be put on record; then the call was not made.
  const std::optional<Error>& unrecorded() const { return unrecorded_; }

  Task<Result<Info>> Stat(std::string path) override { return inner_->Stat(std::move(path)); }
  Task<Result<std::vector<Entry>>> ReadDir(std::string path) override {
    return inner_->ReadDir(std::move(path));
  }
  Task<Result<TreePage>> ListTree(std::string path, int depth, int most,
                                  std::string token) override {
    return inner_->ListTree(std::move(path), depth, most, std::move(token));
  }
  Task<Result<std::string>> Read(std::string path, uint64_t offset, uint64_t length) override {
    return inner_->Read(std::move(path), offset, length);
  }
  Task<Result<std::string>> Readlink(std::string path) override {
    return inner_->Readlink(std::move(path));
  }

  Task<Result<void>> Write(std::string path, uint64_t offset, std::string data) override {
    AIRSTORE_TRY_CO(Note());
    co_return co_await inner_->Write(std::move(path), offset, std::move(data));
  }
  Task<Result<void>> Create(std::string path, uint32_t mode, bool exclusive) override {
    AIRSTORE_TRY_CO(Note());
    co_return co_await inner_->Create(std::move(path), mode, exclusive);
  }
  Task<Result<void>> Mkdir(std::string path, uint32_t mode, bool exclusive) override {
    AIRSTORE_TRY_CO(Note());
    co_return co_await inner_->Mkdir(std::move(path), mode, exclusive);
  }
  Task<Result<void>> Delete(std::string path) override {
    AIRSTORE_TRY_CO(Note());
    co_return co_await inner_->Delete(std::move(path));
  }
  Task<Result<void>> Rename(std::string from, std::string to) override {
    AIRSTORE_TRY_CO(Note());
    co_return co_await inner_->Rename(std::move(from), std::move(to));
  }
  Task<Result<void>> Truncate(std::string path, uint64_t size) override {
    AIRSTORE_TRY_CO(Note());
    co_return co_await inner_->Truncate(std::move(path), size);
  }
  Task<Result<void>> Touch(std::string path, uint64_t size) override {
    AIRSTORE_TRY_CO(Note());
    co_return co_await inner_->Touch(std::move(path), size);
  }
  Task<Result<void>> Symlink(std::string target, std::string path) override {
    AIRSTORE_TRY_CO(Note());
    co_return co_await inner_->Symlink(std::move(target), std::move(path));
  }

  Manners manners() const override { return inner_->manners(); }
  bool refused_token() const override { return inner_->refused_token(); }
  void SetToken(Secret token) override { inner_->SetToken(std::move(token)); }
  const GatewayCounters& counters() const override { return inner_->counters(); }
  std::string state() const override { return inner_->state(); }
  void Reconnect() override { inner_->Reconnect(); }
  void Configure(const ServiceSettings& settings) override { inner_->Configure(settings); }
  std::shared_ptr<GatewayServices> services() override { return inner_->services(); }

 private:
  struct Change {
    SessionState* state = nullptr;  // null: none is being made
    uint64_t sequence = 0;
    uint64_t inode = 0;
  };
  Result<void> Note() {
    if (change_.state == nullptr || change_.state->begun(change_.sequence)) return {};
    auto noted = change_.state->Begin(change_.sequence, change_.inode);
    if (!noted) unrecorded_ = noted.error();
    return noted;
  }

  const std::unique_ptr<ContextClient> inner_;
  Change change_;
  std::optional<Error> unrecorded_;
};

}  // namespace airstore::broker::v1
