// SPDX-License-Identifier: Apache-2.0
//
// A ContextClient that leads straight to an original::Gateway. A text that begins with "!" is no
// answer of the gateway but a call that was not answered.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "broker/v1/context_client.h"
#include "broker/v1/refusal.h"
#include "tests/unit/broker/v1/original.h"

namespace airstore::broker::v1 {

class OriginalClient final : public ContextClient {
 public:
  explicit OriginalClient(original::Gateway* gateway) : gateway_(gateway) {}

  Task<Result<Info>> Stat(std::string path) override {
    original::Told told;
    const std::string said = gateway_->Stat(path, &told);
    if (!said.empty()) co_return Fail("stat", said);
    co_return Of(told);
  }
  Task<Result<std::vector<Entry>>> ReadDir(std::string path) override {
    std::vector<original::Told> told;
    const std::string said = gateway_->ReadDir(path, &told);
    if (!said.empty()) co_return Fail("read directory", said);
    std::vector<Entry> entries;
    for (const original::Told& one : told) entries.push_back({one.name, Of(one)});
    co_return entries;
  }
  Task<Result<TreePage>> ListTree(std::string path, int, int most, std::string token) override {
    std::vector<original::Told> told;
    TreePage page;
    const std::string said = gateway_->ListTree(path, most, token, &told, &page.next);
    if (!said.empty()) co_return Fail("list tree", said);
    for (const original::Told& one : told) page.entries.push_back({one.name, Of(one)});
    co_return page;
  }
  Task<Result<std::string>> Read(std::string path, uint64_t offset, uint64_t length) override {
    std::string data;
    const std::string said =
        gateway_->Read(path, static_cast<int64_t>(offset), static_cast<int64_t>(length), &data);
    if (!said.empty()) co_return Fail("read", said);
    co_return data;
  }
  Task<Result<void>> Write(std::string path, uint64_t offset, std::string data) override {
    if (data.size() > (16u << 20)) co_return Fail("write", "!too large a message");
    co_return Done("write", gateway_->Write(path, static_cast<int64_t>(offset), data));
  }
  Task<Result<void>> Create(std::string path, uint32_t mode, bool) override {
    co_return Done("create", gateway_->Create(path, mode));
  }
  Task<Result<void>> Mkdir(std::string path, uint32_t mode, bool) override {
    co_return Done("make directory", gateway_->Mkdir(path, mode));
  }
  Task<Result<void>> Delete(std::string path) override {
    co_return Done("delete", gateway_->Delete(path, false));
  }
  Task<Result<void>> Rename(std::string from, std::string to) override {
    co_return Done("rename", gateway_->Rename(from, to));
  }
  Task<Result<void>> Truncate(std::string path, uint64_t size) override {
    co_return Done("truncate", gateway_->Truncate(path, static_cast<int64_t>(size)));
  }
  Task<Result<void>> Touch(std::string path, uint64_t size) override {
    return Truncate(std::move(path), size);
  }
  Task<Result<void>> Symlink(std::string target, std::string path) override {
    co_return Done("make symbolic link", gateway_->Symlink(target, path));
  }
  Task<Result<std::string>> Readlink(std::string path) override {
    std::string target;
    const std::string said = gateway_->Readlink(path, &target);
    if (!said.empty()) co_return Fail("read symbolic link", said);
    co_return target;
  }
  Manners manners() const override { return {}; }
  bool refused_token() const override { return false; }
  void SetToken(Secret) override {}
  const GatewayCounters& counters() const override { return counters_; }
  std::string state() const override { return "connected"; }
  void Reconnect() override {}

 private:
  static Info Of(const original::Told& told) { return {told.size, told.mode, told.mtime_s}; }
  static Error Fail(const char* call, const std::string& said) {
    if (said.front() == '!') return Error{EAGAIN, said};
    return Refusal(call, said, 0);
  }
  static Result<void> Done(const char* call, const std::string& said) {
    if (!said.empty()) return Fail(call, said);
    return {};
  }

  original::Gateway* gateway_;
  GatewayCounters counters_;
};

}  // namespace airstore::broker::v1
