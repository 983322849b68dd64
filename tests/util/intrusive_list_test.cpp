#include <magpie/util/intrusive_list.hpp>

#include <gtest/gtest.h>

#include <deque>
#include <random>
#include <vector>

namespace {

using magpie::intrusive_list;
using magpie::list_node;

struct item : list_node {
  explicit item(int n) : number(n) {}
  int number;
};
using list = intrusive_list<item>;

std::vector<int> numbers(const list& l) {
  l.check_invariants();
  std::vector<int> result;
  for (item* i = l.front(); i != nullptr; i = l.next(*i)) {
    result.push_back(i->number);
  }
  return result;
}

TEST(intrusive_list, keeps_both_ends) {
  list l;
  item a(1), b(2), c(3);
  EXPECT_TRUE(l.empty());
  EXPECT_EQ(l.front(), nullptr);
  EXPECT_EQ(l.pop_front(), nullptr);
  EXPECT_EQ(l.pop_back(), nullptr);
  l.push_back(b);
  EXPECT_TRUE(l.single());
  l.push_front(a);
  l.push_back(c);
  EXPECT_FALSE(l.single());
  EXPECT_EQ(numbers(l), (std::vector{1, 2, 3}));
  EXPECT_EQ(l.back(), &c);
  EXPECT_EQ(l.pop_back(), &c);
  EXPECT_EQ(l.pop_front(), &a);
  EXPECT_EQ(l.pop_front(), &b);
  EXPECT_TRUE(l.empty());
}

TEST(intrusive_list, unlinks_without_knowing_the_list) {
  list l;
  item a(1), b(2), c(3);
  l.push_back(a);
  l.push_back(c);
  list::insert_before(c, b);
  EXPECT_EQ(numbers(l), (std::vector{1, 2, 3}));
  EXPECT_TRUE(b.linked());
  b.unlink();
  EXPECT_FALSE(b.linked());
  EXPECT_EQ(numbers(l), (std::vector{1, 3}));
  list::remove(a);
  list::remove(c);
  EXPECT_TRUE(l.empty());
}

TEST(intrusive_list, appends_whole_lists) {
  list l, m;
  item a(1), b(2), c(3), d(4);
  l.append(m);
  m.push_back(a);
  m.push_back(b);
  l.append(m);
  EXPECT_TRUE(m.empty());
  m.push_back(c);
  m.push_back(d);
  l.append(m);
  EXPECT_EQ(numbers(l), (std::vector{1, 2, 3, 4}));
  EXPECT_EQ(l.count(), 4U);
  while (l.pop_front() != nullptr) {
  }
}

struct by_age : list_node {};
struct by_name : list_node {};
struct person : by_age, by_name {};

TEST(intrusive_list, an_element_can_be_in_two_lists) {
  intrusive_list<person, by_age> ages;
  intrusive_list<person, by_name> names;
  person p, q;
  ages.push_back(p);
  ages.push_back(q);
  names.push_back(q);
  names.push_back(p);
  EXPECT_EQ(ages.front(), &p);
  EXPECT_EQ(names.front(), &q);
  ages.remove(p);
  EXPECT_EQ(names.back(), &p);
  EXPECT_EQ(names.pop_front(), &q);
  EXPECT_EQ(names.pop_front(), &p);
  EXPECT_EQ(ages.pop_front(), &q);
}

TEST(intrusive_list, behaves_as_a_deque) {
  std::mt19937 random(1);
  std::deque<item> items;
  for (int i = 0; i != 64; ++i) {
    items.emplace_back(i);
  }
  list l;
  std::deque<int> model;
  for (int step = 0; step != 20'000; ++step) {
    item& i = items[random() % items.size()];
    if (i.linked()) {
      i.unlink();
      std::erase(model, i.number);
    } else if (random() % 2 == 0) {
      l.push_back(i);
      model.push_back(i.number);
    } else {
      l.push_front(i);
      model.push_front(i.number);
    }
    ASSERT_EQ(numbers(l), std::vector<int>(model.begin(), model.end()));
  }
  while (l.pop_back() != nullptr) {
  }
}

}  // namespace
