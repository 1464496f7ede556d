// SPDX-License-Identifier: Apache-2.0
#include "tests/nfs/hard_client.h"

#include <sys/stat.h>

#include <cstring>
#include <set>

namespace airstore::nfs_test {
namespace {

constexpr std::chrono::seconds kPatience{60};

uint32_t ModeOf(uint64_t number) { return 0600 + static_cast<uint32_t>(number % 64); }

}  // namespace

std::string HardClient::Ask(nfsproc3 procedure, const std::string& arguments) {
  uint32_t xid = ++xid_;
  const auto until = e2e::Now() + kPatience;
  while (e2e::Now() < until) {
    try {
      if (!client_) client_ = std::make_unique<RpcClient>(port_);
      client_->SendBytes(client_->CallBytes(xid, NFS3_PROGRAM, NFS3_VERSION,
                                            static_cast<uint32_t>(procedure), arguments));
      if (const auto record = client_->ReadRecord()) {
        const Reply reply = RpcClient::ParseReply(*record, xid);
        if (reply.good() && Body(reply.body).Status() != NFS3ERR_JUKEBOX) return reply.body;
        if (reply.good()) {  // later, as another call
          e2e::Pause();
          xid = ++xid_;
          continue;
        }
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

void HardClient::Round(const Handle& directory, uint64_t number) {
  const std::string draft = "draft" + std::to_string(number);
  const std::string name = "f" + std::to_string(number);
  createhow3 how{};
  how.mode = GUARDED;
  how.createhow3_u.guarded_attributes = WithMode(0644);
  Expect(NFSPROC3_CREATE, Where(directory, draft) + Code(xdr_createhow3, how), NFS3ERR_EXIST);
  Body found(Ask(NFSPROC3_LOOKUP, Where(directory, draft)));
  if (const nfsstat3 status = found.Status(); status != NFS3_OK) {
    problems_.push_back(draft + " is not found: " + std::to_string(status));
    return;
  }
  const auto looked_up = found.Take(xdr_LOOKUP3resok);
  const Handle file(looked_up.object.data.data_val, looked_up.object.data.data_len);
  WriteUntilCommitted(file, e2e::RandomBytes(number, kBytes));
  Expect(NFSPROC3_RENAME, Where(directory, draft) + Where(directory, name), NFS3ERR_NOENT);
  Expect(NFSPROC3_SETATTR,
         Code(xdr_nfs_fh3, Wire(file)) + Code(xdr_sattr3, WithMode(ModeOf(number))) +
             Code(xdr_sattrguard3, sattrguard3{}),
         NFS3_OK);
  acknowledged_[name] = number;
  if (number % 3 != 0 || number < 6) return;
  const std::string victim = "f" + std::to_string(number - 5);
  Expect(NFSPROC3_REMOVE, Where(directory, victim), NFS3ERR_NOENT);
  acknowledged_.erase(victim);
}

void HardClient::Work(const Handle& directory, const std::atomic<bool>& end) {
  try {
    for (uint64_t number = 1; !end && problems_.empty(); ++number) {
      Round(directory, number);
      ++rounds_;
    }
  } catch (const std::runtime_error& error) {
    problems_.push_back(error.what());
  }
  client_.reset();
  stopped_ = true;
}

void HardClient::ExpectAllIn(const std::string& directory) const {
  for (const std::string& problem : problems_) ADD_FAILURE() << directory << ": " << problem;
  std::set<std::string> names;
  for (const auto& [name, seed] : acknowledged_) {
    const std::string at = directory + "/" + name;
    names.insert(name);
    EXPECT_TRUE(e2e::ReadFile(at) == e2e::RandomBytes(seed, kBytes)) << at;
    EXPECT_EQ(e2e::Stat(at).st_mode & 07777, ModeOf(seed)) << at;
  }
  EXPECT_EQ(e2e::NamesIn(directory), names);
}

Crew::Crew(uint16_t port, const std::string& path, int clients, std::string name)
    : name_(std::move(name)) {
  Client maker(port);
  const Handle root = maker.Mount(path);
  for (int i = 0; i < clients; ++i) {
    Handle directory;
    EXPECT_EQ(maker.Mkdir(root, DirectoryOf(clients_.size()), 0755, &directory), NFS3_OK);
    clients_.push_back(std::make_unique<HardClient>(port, &exports_));
    HardClient* const client = clients_.back().get();
    threads_.emplace_back([this, directory, client] { client->Work(directory, end_); });
  }
}

void Crew::End() {
  end_ = true;
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

void Crew::AwaitProgress() const {
  for (const auto& client : clients_) {
    const uint64_t wanted = client->rounds() + 2;  // the one under way counts for one
    EXPECT_TRUE(e2e::WaitUntil(2 * kPatience,
                               [&] { return client->rounds() >= wanted || client->stopped(); }));
  }
}

size_t Crew::files() const {
  size_t files = 0;
  for (const auto& client : clients_) files += client->acknowledged().size();
  return files;
}

uint64_t Crew::rounds() const {
  uint64_t rounds = 0;
  for (const auto& client : clients_) rounds += client->rounds();
  return rounds;
}

void Crew::ExpectAllIn(const std::string& mount) const {
  for (size_t i = 0; i < clients_.size(); ++i) {
    clients_[i]->ExpectAllIn(mount + "/" + DirectoryOf(i));
  }
}

}  // namespace airstore::nfs_test
