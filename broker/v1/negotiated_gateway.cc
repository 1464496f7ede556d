// SPDX-License-Identifier: Apache-2.0
#include "broker/v1/negotiated_gateway.h"

#include <spdlog/spdlog.h>

namespace airstore::broker::v1 {
namespace {

class NegotiatedGateway final : public Gateway {
 public:
  NegotiatedGateway(std::shared_ptr<Gateway> v2, std::function<std::unique_ptr<Gateway>()> make_v1)
      : now_(std::move(v2)), make_v1_(std::move(make_v1)) {}

  Task<Result<OpenedSession>> Open(const std::string& workspace,
                                   const std::array<uint8_t, 16>& session_id,
                                   bool want_write_lease) override {
    auto opened = co_await now_->Open(workspace, session_id, want_write_lease);
    if (opened || opened.error().code != ENOSYS || settled_) {
      settled_ = settled_ || opened.has_value();
      co_return opened;
    }
    std::shared_ptr<Gateway> v1 = make_v1_();
    if (!v1) co_return Error{EAGAIN, "no connection"};
    if (!token_.empty()) v1->SetToken(token_);
    opened = co_await v1->Open(workspace, session_id, want_write_lease);
    if (!opened) co_return opened;
    now_ = std::move(v1);
    settled_ = true;
    co_return opened;
  }
  void Assume(const std::string& protocol) override {
    if (settled_ || protocol.empty()) return;
    if (std::shared_ptr<Gateway> v1 = protocol == "v1" ? make_v1_() : nullptr) now_ = v1;
    settled_ = true;
  }

  Task<Result<void>> Close() override { return now_->Close(); }
  Task<Result<uint64_t>> KeepAlive() override { return now_->KeepAlive(); }
  Task<Result<AcquiredLease>> AcquireLease(uint64_t inode) override {
    return now_->AcquireLease(inode);
  }
  Task<Result<void>> ForgetZone(uint64_t zone) override { return now_->ForgetZone(zone); }
  Task<Result<void>> ReleaseLease(uint64_t lease_id) override {
    return now_->ReleaseLease(lease_id);
  }
  std::unique_ptr<WatchStream> Watch(uint64_t cursor) override { return now_->Watch(cursor); }
  Task<Result<void>> AckWatch(uint64_t cursor) override { return now_->AckWatch(cursor); }
  Task<Result<std::pair<uint64_t, uint64_t>>> AllocateInodes(uint64_t count) override {
    return now_->AllocateInodes(count);
  }
  Task<Result<std::vector<ResolveResult>>> Resolve(std::vector<ResolveItem> items) override {
    return now_->Resolve(std::move(items));
  }
  Task<Result<Fetched>> Fetch(uint64_t inode, uint64_t offset, uint64_t length) override {
    return now_->Fetch(inode, offset, length);
  }
  Task<Result<void>> PutBlock(const BlockId& id, std::string data) override {
    return now_->PutBlock(id, std::move(data));
  }
  Task<Result<std::vector<MutationResult>>> Apply(
      std::shared_ptr<const std::vector<Mutation>> batch, std::vector<uint64_t> leases) override {
    return now_->Apply(std::move(batch), std::move(leases));
  }
  Task<Result<LockVerdict>> Lock(LockCall call, LockAsk ask) override {
    return now_->Lock(call, ask);
  }
  Task<Result<void>> CancelLock(uint64_t wait) override { return now_->CancelLock(wait); }
  Task<Result<AssertedLocks>> AssertLocks(std::vector<LockCall> held) override {
    return now_->AssertLocks(std::move(held));
  }
  Task<Result<StatFs>> Statfs() override { return now_->Statfs(); }

  std::shared_ptr<GatewayServices> services() override { return now_->services(); }
  GatewayTraits traits() const override { return now_->traits(); }
  void Configure(const ServiceSettings& settings) override { now_->Configure(settings); }
  std::optional<OfferedServices> offered() const override { return now_->offered(); }
  void Reconnect() override { now_->Reconnect(); }
  void SetToken(Secret token) override {
    token_ = token;
    now_->SetToken(std::move(token));
  }
  const GatewayCounters& counters() const override { return now_->counters(); }
  std::string state() const override { return now_->state(); }

 private:
  std::shared_ptr<Gateway> now_;
  const std::function<std::unique_ptr<Gateway>()> make_v1_;
  bool settled_ = false;
  Secret token_;  // that came later
};

}  // namespace

std::shared_ptr<Gateway> MakeNegotiatedGateway(std::shared_ptr<Gateway> v2,
                                               std::function<std::unique_ptr<Gateway>()> make_v1) {
  return std::make_shared<NegotiatedGateway>(std::move(v2), std::move(make_v1));
}

}  // namespace airstore::broker::v1
