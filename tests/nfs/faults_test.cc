// SPDX-License-Identifier: Apache-2.0
//
// A client that behaves as a kernel's with a hard mount does (it sends a call again until it is
// answered, and bytes again when the write verifier has changed) works while broker, frontends and
// gateway die at named places. What it was told is then looked for without any cache.
#include <atomic>
#include <cstring>
#include <map>
#include <set>
#include <thread>

#include "tests/fault/switchboard.h"
#include "tests/nfs/served.h"

namespace airstore::nfs_test {
namespace {

constexpr std::chrono::seconds kPatience{60};

class HardClient {
 public:
  HardClient(uint16_t port, const std::atomic<int>* exports) : port_(port), exports_(*exports) {}

  // Rounds of work, until it is told to end.
  void Work(const Handle& root, const std::atomic<bool>& end);
  // Name: the seed of its content.
  const std::map<std::string, uint64_t>& acknowledged() const { return acknowledged_; }
  const std::vector<std::string>& problems() const { return problems_; }

 private:
  static constexpr size_t kBytes = 30'000;

  std::string Ask(nfsproc3 procedure, const std::string& arguments);
  nfsstat3 StatusOf(nfsproc3 procedure, const std::string& arguments) {
    Body body(Ask(procedure, arguments));
    return body.Status();
  }
  // `repeated`: what a call is told that was carried out for an export that has ended since.
  void Expect(nfsproc3 procedure, const std::string& arguments, nfsstat3 repeated);
  void WriteUntilCommitted(const Handle& file, const std::string& data);
  void Round(const Handle& root, uint64_t number);

  const uint16_t port_;
  const std::atomic<int>& exports_;  // how often the workspace was served anew
  std::unique_ptr<RpcClient> client_;
  uint32_t xid_ = 7'000'000;
  std::map<std::string, uint64_t> acknowledged_;
  std::vector<std::string> problems_;
};

std::string HardClient::Ask(nfsproc3 procedure, const std::string& arguments) {
  const uint32_t xid = ++xid_;
  const auto until = e2e::Now() + kPatience;
  while (e2e::Now() < until) {
    try {
      if (!client_) client_ = std::make_unique<RpcClient>(port_);
      client_->SendBytes(client_->CallBytes(xid, NFS3_PROGRAM, NFS3_VERSION,
                                            static_cast<uint32_t>(procedure), arguments));
      if (const auto record = client_->ReadRecord()) {
        const Reply reply = RpcClient::ParseReply(*record, xid);
        if (reply.good()) return reply.body;
      }
    } catch (const std::runtime_error&) {
      e2e::Pause();
    }
    client_.reset();
  }
  throw std::runtime_error("procedure " + std::to_string(procedure) + " is not answered");
}

void HardClient::Expect(nfsproc3 procedure, const std::string& arguments, nfsstat3 repeated) {
  const int exports = exports_;
  const nfsstat3 status = StatusOf(procedure, arguments);
  if (status == NFS3_OK || (status == repeated && exports_ != exports)) return;
  problems_.push_back("procedure " + std::to_string(procedure) + ": " + std::to_string(status));
}

void HardClient::WriteUntilCommitted(const Handle& file, const std::string& data) {
  for (;;) {
    Body written(
        Ask(NFSPROC3_WRITE,
            Code(xdr_WRITE3argshead,
                 WRITE3argshead{Wire(file), 0, static_cast<uint32_t>(data.size()), UNSTABLE}) +
                Code(xdr_uint32, static_cast<uint32_t>(data.size())) + data +
                std::string((4 - data.size() % 4) % 4, '\0')));
    if (const nfsstat3 status = written.Status(); status != NFS3_OK) {
      problems_.push_back("write: " + std::to_string(status));
      return;
    }
    const auto accepted = written.Take(xdr_WRITE3resok);
    Body committed(Ask(NFSPROC3_COMMIT, Code(xdr_COMMIT3args, COMMIT3args{Wire(file), 0, 0})));
    if (const nfsstat3 status = committed.Status(); status != NFS3_OK) {
      problems_.push_back("commit: " + std::to_string(status));
      return;
    }
    const auto kept = committed.Take(xdr_COMMIT3resok);
    if (memcmp(accepted.verf, kept.verf, sizeof(kept.verf)) == 0) return;
  }
}

void HardClient::Round(const Handle& root, uint64_t number) {
  const std::string draft = "draft" + std::to_string(number);
  const std::string name = "f" + std::to_string(number);
  createhow3 how{};
  how.mode = GUARDED;
  how.createhow3_u.guarded_attributes = WithMode(0644);
  Expect(NFSPROC3_CREATE, Where(root, draft) + Code(xdr_createhow3, how), NFS3ERR_EXIST);
  Body found(Ask(NFSPROC3_LOOKUP, Where(root, draft)));
  if (const nfsstat3 status = found.Status(); status != NFS3_OK) {
    problems_.push_back(draft + " is not found: " + std::to_string(status));
    return;
  }
  const auto looked_up = found.Take(xdr_LOOKUP3resok);
  const Handle file(looked_up.object.data.data_val, looked_up.object.data.data_len);
  WriteUntilCommitted(file, e2e::RandomBytes(number, kBytes));
  Expect(NFSPROC3_RENAME, Where(root, draft) + Where(root, name), NFS3ERR_NOENT);
  acknowledged_[name] = number;
  if (number % 3 != 0 || number < 6) return;
  const std::string victim = "f" + std::to_string(number - 5);
  Expect(NFSPROC3_REMOVE, Where(root, victim), NFS3ERR_NOENT);
  acknowledged_.erase(victim);
}

void HardClient::Work(const Handle& root, const std::atomic<bool>& end) {
  try {
    for (uint64_t number = 1; !end && problems_.empty(); ++number) Round(root, number);
  } catch (const std::runtime_error& error) {
    problems_.push_back(error.what());
  }
  client_.reset();
}

class Faults : public ServedTest {
 protected:
  e2e::HostOptions Options() const override {
    return {.patience = Patience(), .environment = {{"AIRSTORE_FAULT", board_.path()}}};
  }
  // Has somebody die there, and brings back who does not come back by itself.
  void DieAt(FaultPoint point, int64_t skip) {
    const auto before = board_.fired(point);
    board_.Arm(point, FaultAction::kKill, 0, skip, 1);
    ASSERT_TRUE(e2e::WaitUntil(kPatience, [&] { return board_.fired(point) > before; }))
        << fault::NameOf(point);
    const std::string name = fault::NameOf(point);
    if (name.starts_with("frontend.")) return;
    if (name.starts_with("gateway.")) {
      ASSERT_TRUE(e2e::WaitUntil(kPatience, [&] { return !host().GatewayRuns(); }));
      host().StartGateway();
    } else {
      ASSERT_TRUE(e2e::WaitUntil(kPatience, [&] { return !host().BrokerRuns(); }));
      host().StartBroker();
    }
  }

  fault::Switchboard board_;
};

// AIRSTORE_NFS_LONG=1: each point twenty times.
TEST_F(Faults, LoseNothingThatAClientWasTold) {
  const Handle root = Connect()->Mount(path());
  std::atomic<bool> end = false;
  std::atomic<int> exports = 0;
  HardClient client(port(), &exports);
  std::thread working([&] { client.Work(root, end); });
  using enum FaultPoint;
  const FaultPoint points[] = {kFrontendSlotFilled,
                               kFrontendPlaceReserved,
                               kFrontendRecordQueued,
                               kFrontendCallMade,
                               kFrontendCallAnswered,
                               kFrontendBeforeReply,
                               kFrontendAfterReply,
                               kJournalBeforeAppend,
                               kJournalAfterAppend,
                               kLogAfterNumber,
                               kRpcSent,
                               kLogBatchAnswered,
                               kLogAfterSettle,
                               kContentAfterDirty,
                               kContentBeforeWrite,
                               kContentAfterWrite,
                               kCallTaken,
                               kCallBeforeAnswer,
                               kCallAfterAnswer,
                               kTreeBeforeLog,
                               kTreeAfterLog,
                               kGatewayBeforeCommit,
                               kGatewayAfterCommit,
                               kGatewayBeforeReply};
  const int64_t rounds = e2e::EnvOr("AIRSTORE_NFS_LONG", 0) != 0 ? 20 : 1;
  for (int64_t round = 0; round < rounds && !HasFatalFailure(); ++round) {
    for (const FaultPoint point : points) {
      DieAt(point, (round * 7 + static_cast<int64_t>(point)) % 5);
      if (HasFatalFailure()) break;
    }
    // Together: the export is made again.
    ++exports;
    host().KillBrokerAndMounts();
    host().StartBroker();
    Serve(name());
    ++exports;
  }
  end = true;
  working.join();
  for (const std::string& problem : client.problems()) ADD_FAILURE() << problem;
  const auto& expected = client.acknowledged();
  EXPECT_GT(expected.size(), 10u);
  const std::string mount = MountElsewhere();
  std::set<std::string> names;
  for (const auto& [file, seed] : expected) {
    names.insert(file);
    EXPECT_TRUE(e2e::ReadFile(mount + "/" + file) == e2e::RandomBytes(seed, 30'000)) << file;
  }
  EXPECT_EQ(e2e::NamesIn(mount), names);
}

}  // namespace
}  // namespace airstore::nfs_test
